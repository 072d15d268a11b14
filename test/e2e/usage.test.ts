import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import t from 'tap';
import { run as runFirewall } from '../../src/cli/firewall.ts';
import { run as runNetwork } from '../../src/cli/network.ts';
import { missingPeer } from '../support/peer.ts';
import { SLUICE } from '../support/process.ts';
import { sluice } from './sluice.ts';

const PLANT = `
gateway: { id: plant7 }
network: { trunk: sluice-none }
zones:
  control: { vlan: 10, subnet: 10.20.10.0/24, address: 10.20.10.1/24 }
`;

/** Why nobody else can be played here; false where a user namespace can be made. */
function noOtherUser(): string | false {
  const missing = missingPeer('unshare', 'util-linux') || missingPeer('bridge', 'iproute2');
  if (missing !== false) return missing;
  const { status, stderr } = spawnSync('unshare', ['-U', 'true'], { encoding: 'utf8' });
  return status === 0 ? false : `no user namespaces here: ${stderr.trim()}`;
}

/** In this process: a start of each costs half a second. */
async function commandOf(name: string): Promise<(args: readonly string[]) => Promise<unknown>> {
  const [file, exported] = name === 'release' ? ['quarantine', 'runRelease'] : [name, 'run'];
  const module: unknown = await import(`../../src/cli/${file}.ts`);
  const run: unknown = typeof module === 'object' && module !== null && Reflect.get(module, exported);
  if (typeof run !== 'function') throw new Error(`cli/${file}.ts has no ${exported}`);
  return async (args) => {
    const ended: unknown = await run(args);
    return ended;
  };
}

t.test('every command says what it does, and wrong usage is 64 in one line', async (t) => {
  const commands = [...sluice('--help').out.matchAll(/^ {2}([a-z]+) /gm)].map(([, name = '']) => name);
  t.ok(commands.length >= 8);
  for (const name of commands) {
    const run = await commandOf(name);
    t.match(sluice(name, '--help'), { status: 0, out: new RegExp(`^Usage: ./sluice ${name}`) });
    await t.rejects(run(['--jsn']), { code: 'USAGE', message: /^Unknown option '--jsn'/ }, name);
  }
  for (const name of ['check', 'release']) {
    const { status, err } = sluice(name, '--jsn');
    t.equal(status, 64);
    t.match(err, /^sluice: Unknown option '--jsn'[^\n]*; \.\/sluice [a-z]+ --help tells more\n$/);
  }
  t.match(sluice('version', '-h'), { status: 0, out: /^Usage/ });
  t.match(sluice('help', 'plan'), { status: 0, out: /^Usage: .\/sluice plan/ });
  t.match(
    sluice('history', '--from', '-1h').err,
    /^sluice: --from needs a value; one that begins with a dash is written --from=-1; /,
  );
  t.match(sluice('version', '--jsn').err, /did you mean --json\?/);
  t.match(sluice('chek').err, /there is no command "chek"; did you mean check\?/);
  t.equal(sluice('version', 'more').status, 64);
  t.match(JSON.parse(sluice('version', '--json').out), { sluice: /^\d/, node: /^24\./ });
});

t.test('firewall: an option that means nothing to a verb is refused', async (t) => {
  const wrong: Readonly<Record<string, string>> = {
    'plan --because x': 'firewall plan takes no --because',
    'prove --because x': 'firewall prove takes no --because',
    'audit --because x': 'firewall audit takes no --because',
    'apply --because x': 'firewall apply takes no --because',
    'status --listing x': 'firewall status takes no --listing',
    'prove --socket x': 'firewall prove takes no --socket',
    'render --json': 'firewall render takes no --json',
    'confirm plant.yaml':
      'firewall confirm wants the change that apply named, as in: ./sluice firewall confirm 5f3a90c2 plant.yaml',
  };
  for (const [line, message] of Object.entries(wrong))
    await t.rejects(runFirewall(line.split(' ')), { code: 'USAGE', message }, line);
});

t.test('network: wrong usage, a wrong file, and whoever is not root', async (t) => {
  const wrong: Readonly<Record<string, string>> = {
    '': 'network wants a verb: there are render, plan, apply, verify',
    aply: 'network knows no aply: did you mean apply?',
    'render --root /x': 'network render takes no --root',
    'render --json': 'network render takes no --json',
    'plan --force': 'network plan takes no --force',
    'plan --without-networkd': 'network plan takes no --without-networkd',
    'verify --out x': 'network verify takes no --out',
    'apply one.yaml two.yaml': 'network apply takes one file, not 2',
    'apply --root': "Option '--root <value>' argument missing",
  };
  for (const [line, message] of Object.entries(wrong)) {
    const args = line.split(' ').filter((word) => word !== '');
    await t.rejects(runNetwork(args), { code: 'USAGE', message }, line);
  }
  t.match(sluice('network', 'plan', '--force'), {
    status: 64,
    out: '',
    err: /^sluice: network plan takes no --force; \.\/sluice network --help tells more\n$/,
  });

  const folder = t.testdir({
    'wrong.yaml': 'gateway: { id: plant7 }\nnetwork: { trnk: eth1 }\n',
    'gateway.yaml': PLANT,
  });
  t.match(sluice('network', 'plan', `${folder}/wrong.yaml`), { status: 78, err: /wrong\.yaml:2:.*trnk/ });
  t.match(sluice('network', 'plan', `${folder}/none.yaml`), { status: 78 });
});

t.test(
  'network apply without root changes nothing, and the others need none',
  { skip: noOtherUser() },
  async (t) => {
    const folder = t.testdir({ 'gateway.yaml': PLANT, root: {} });
    const asNobody = (...args: readonly string[]) =>
      spawnSync('unshare', ['-U', SLUICE, 'network', ...args, 'gateway.yaml'], {
        encoding: 'utf8',
        cwd: folder,
      });

    const refused = asNobody('apply', '--root', 'root');

    t.equal(refused.status, 1);
    t.match(refused.stderr, /^sluice: only root may write units and set links: nothing was changed; /);
    t.same(readdirSync(`${folder}/root`), []);
    t.match(asNobody('render'), { status: 0, stdout: /10-sluice-vlan10\.netdev/ });
    t.match(asNobody('plan'), { status: 0, stdout: /vlan10 is missing/ });
    t.match(asNobody('verify'), { status: 1, stdout: /vlan10 is missing/ });
  },
);
