import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { long } from '../support/long.ts';
import { differences, forPerson, type Probed, portsOf, probePolicy } from '../../src/cli/firewall-probe.ts';
import { parseConfig } from '../../src/config/parse.ts';
import { compile } from '../../src/segmentation/compile.ts';
import { guardsOf } from '../../src/segmentation/guards.ts';
import { render } from '../../src/segmentation/render.ts';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { REPOSITORY } from '../support/process.ts';
import { until } from '../support/wait.ts';
import { policyOf } from '../segmentation/policies.ts';

// The twin that a person asks for: real packets, expected from the declaration alone.

const skip =
  noRules() ||
  missingPeer('ip', 'iproute2') ||
  (process.getuid?.() === 0 ? false : 'only root may make network namespaces');

const plant = (mode: string): string => `
gateway: { id: plant }
coap: { listen: "10.20.10.1:5683" }
zones:
  control: { vlan: 10, subnet: [10.20.10.0/24, "fd00:10::/64"] }
  supervision: { vlan: 40, subnet: [10.20.40.0/24, "fd00:40::/64"] }
conduits:
  - { from: supervision, to: control, allow: [modbus-tcp, udp/5000-5010, icmp], because: "HMI" }
  - { from: supervision, to: gateway, allow: [https, icmp], because: "page" }
  - { from: control, to: supervision, allow: [udp/514], because: "syslog" }
classes:
  press: { zone: control, protocol: modbus, points: { p: { at: "coil:0" } } }
  siren: { zone: control, protocol: coap, points: { p: { push: true } } }
devices:
  press-1: { class: press, at: "modbus-tcp://10.20.10.21" }
  siren-1: { class: siren, at: "coap://10.20.10.51" }
segmentation: { mode: ${mode}, management: { zone: supervision, from: [10.20.40.9], allow: [ssh] } }
`;

async function probed(
  yaml: string,
  change: (rules: string) => readonly string[] = (rules) => [rules],
): Promise<Probed> {
  const policy = policyOf(yaml);
  const file = 'gateway.yaml';
  const parsed = parseConfig(yaml, file);
  if (!('config' in parsed)) throw new Error(JSON.stringify(parsed.problems));
  const folder = mkdtempSync(join(tmpdir(), 'sluice-probe-'));
  try {
    writeFileSync(join(folder, file), yaml);
    return await probePolicy(policy, new AbortController().signal, {
      documents: change(render(compile(policy))),
      guards: { of: guardsOf(parsed.config), file: join(folder, file) },
      ports: portsOf(parsed.config),
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A pump whose requests are looked into one by one, and a press whose packets are. */
const guarded = (mode: string): string => `
gateway: { id: plant }
zones:
  control: { vlan: 10, subnet: [10.20.10.0/24, "fd00:10::/64"] }
  supervision: { vlan: 40, subnet: [10.20.40.0/24, "fd00:40::/64"] }
conduits:
  - from: supervision
    to: control
    allow: [modbus-tcp]
    because: "HMI tunes the pumps"
    only: { to: [pump] }
    guard: { read: ["holding:0-9"], write: ["holding:5"] }
  - { from: supervision, to: control, allow: [modbus-tcp/read], because: "the historian", only: { to: [press] }, guard: { grade: filtered } }
classes:
  pump: { zone: control, protocol: modbus, points: { p: { at: "holding:0:uint16" } } }
  press: { zone: control, protocol: modbus, points: { p: { at: "coil:0" } } }
devices:
  pump-1: { class: pump, at: "modbus-tcp://10.20.10.21" }
  pump-2: { class: pump, at: "modbus-tcp://[fd00:10::22]?unit=3" }
  press-1: { class: press, at: "modbus-tcp://10.20.10.31" }
segmentation: { mode: ${mode}, management: { zone: supervision, from: [10.20.40.9], allow: [ssh] } }
`;

/** Two presses at ports of their own, a stranger behind the second of them, and an office that anybody may use. */
const bridged = (mode: string): string => `
gateway: { id: plant }
coap: { listen: "10.20.10.1:5683" }
zones:
  control: { interface: br0, subnet: [10.20.10.0/24, "fd00:10::/64"], address: [10.20.10.1/24, "fd00:10::1/64"], ports: [lan1, lan2] }
  office: { interface: br1, subnet: 10.20.30.0/24, ports: [lan3], unknown-macs: allow }
  supervision: { vlan: 40, subnet: [10.20.40.0/24, "fd00:40::/64"] }
conduits:
  - { from: supervision, to: control, allow: [tcp/4840, udp/5005], because: "OPC UA" }
  - { from: control, to: supervision, allow: [udp/514], because: "syslog" }
classes:
  press: { zone: control, protocol: coap, points: { p: { push: true } } }
devices:
  press-1: { class: press, at: "coap://10.20.10.21", mac: "02:00:00:00:10:21", port: lan1 }
  press-2: { class: press, at: "coap://10.20.10.22", mac: "02:00:00:00:10:22", port: lan2 }
segmentation: { mode: ${mode}, management: { zone: supervision, from: [10.20.40.9], allow: [ssh] } }
`;

const claims = ({ cells, seen }: Probed): string[] =>
  cells.cells
    .flatMap(({ from, kind, claim }, i) => (claim === undefined ? [] : [`${from}: ${kind} ${seen[i]}`]))
    .toSorted();

/** What became of requests, whoever asked. */
const requests = ({ cells, seen }: Probed): string[] => [
  ...new Set(
    cells.cells.flatMap(({ to, request }, i) =>
      request === undefined ? [] : [`${to}: ${request.text} ${seen[i]}`],
    ),
  ),
];

const document = (...commands: readonly object[]): string => JSON.stringify({ nftables: commands });
const [AGENT = '', GUARD = ''] = ['src/netd/twin-agent.ts', 'src/cli/firewall-probe-guard.ts'].map(
  (file) => `${REPOSITORY}${file}`,
);
/** Processes of twins of this worktree. */
const running = (...programs: readonly string[]): number[] =>
  globSync('/proc/[0-9]*/cmdline').flatMap((file) => {
    try {
      const line = readFileSync(file, 'utf8');
      return programs.some((program) => line.includes(program)) ? [Number(file.split('/')[2])] : [];
    } catch {
      return [];
    }
  });
const agents = (): number[] => running(AGENT);
const outside = (): string =>
  spawnSync('sh', ['-c', 'ip netns list; ip -o link | cut -d: -f2'], { encoding: 'utf8' }).stdout;

t.test('what is declared passes in the twin, and nothing else', { skip }, async (t) => {
  const result = await probed(plant('enforce'));

  t.same(differences(result), []);
  const passed = result.cells.cells.filter((_, i) => result.seen[i] === 'answered');
  for (const family of [4, 6]) {
    for (const kind of ['tcp', 'udp', 'icmp']) {
      const some = passed.filter((cell) => cell.family === family && cell.protocol === kind);
      t.ok(some.length > 0, `${kind} over IPv${family} passes somewhere`);
    }
  }
  const kinds = new Set(result.cells.cells.map(({ kind }) => kind));
  const torn = ['fragments', 'small fragments', 'tiny fragments'];
  t.same([...kinds].toSorted(), ['answer unasked', 'foreign source', 'new', ...torn].toSorted());
  for (const kind of torn)
    t.ok(
      passed.some((cell) => cell.kind === kind),
      `${kind} pass where that is declared`,
    );
  t.match(forPerson(result), /as declared, all of them/);
});

t.test('guarded conduits let pass what is declared, each by its grade', { skip }, async (t) => {
  const result = await probed(guarded('enforce'));

  t.same(differences(result), []);
  t.same(requests(result).toSorted(), [
    'control/press-1: read coil:0 answered',
    'control/press-1: write holding:0 nothing',
    'control/pump-1: read holding:0 answered',
    'control/pump-1: read holding:10 refused',
    'control/pump-1: write holding:0 refused',
    'control/pump-1: write holding:5 answered',
    'control/pump-2: read holding:0 answered',
    'control/pump-2: read holding:10 refused',
    'control/pump-2: write holding:0 refused',
    'control/pump-2: write holding:5 answered',
  ]);
  t.match(forPerson(result), /-> control\/pump-1: tcp\/502 \(read holding:0\)/);
});

t.test('at the access ports of a bridge nobody is somebody else', { skip }, async (t) => {
  const result = await probed(bridged('enforce'));

  t.same(differences(result), []);
  t.same(claims(result), [
    'control/nobody: foreign arp nothing',
    'control/nobody: foreign hardware nothing',
    'control/nobody: own arp nothing',
    'control/press-1: foreign arp nothing',
    'control/press-1: foreign hardware nothing',
    'control/press-1: own arp arrived',
    'control/press-2: foreign arp nothing',
    'control/press-2: foreign hardware nothing',
    'control/press-2: own arp arrived',
    'office/nobody: own arp arrived',
  ]);
  const mute = result.cells.cells.filter(({ from }) => from === 'control/nobody');
  t.ok(mute.length > 5 && mute.every(({ declared }) => !declared), 'a stranger at such a port says nothing');
  t.match(forPerson(result), /control\/press-1 -> gateway: .*arp \(own arp\).* \| .*arp \(foreign arp\)/);
});

t.test('without rules everything arrives: the twin itself is sound', { skip }, async (t) => {
  const result = await probed(plant('enforce'), () => []);

  const lost = result.cells.cells.filter(
    (cell, i) =>
      result.seen[i] !== (cell.kind === 'foreign source' ? 'arrived' : 'answered') &&
      cell.kind !== 'foreign source',
  );
  t.same(lost, []);
  t.ok(result.cells.cells.every((cell, i) => cell.kind !== 'foreign source' || result.seen[i] !== 'nothing'));
  t.equal(differences(result).length, result.cells.cells.filter(({ declared }) => !declared).length);
});

t.test(
  'one element too many, and a foreign rule that takes away, are found',
  { skip: skip || long },
  async (t) => {
    const here = { family: 'inet', table: 'sluice' };
    const smuggled = document({
      add: {
        element: {
          ...here,
          name: 'r_supervision_control_4',
          elem: [
            [
              { concat: [{ prefix: { addr: '10.20.40.0', len: 24 } }, '10.20.10.21', 'tcp', 23] },
              { accept: null },
            ],
          ],
        },
      },
    });
    const more = await probed(plant('enforce'), (rules) => [rules, smuggled]);
    const found = differences(more);
    t.ok(found.length > 0);
    for (const { cell, seen } of found) {
      t.match(cell, { to: 'control/press-1', protocol: 'tcp', port: 23, declared: false });
      t.equal(seen, 'answered');
    }
    t.match(
      forPerson(more),
      /differ from what is declared:\n {2}supervision\/\S+ 10\.20\.40\.\d+ -> control\/press-1 10\.20\.10\.21 tcp\/23: is not declared, and was answered/,
    );

    const foreign = { family: 'inet', table: 'foreign' };
    const less = await probed(plant('enforce'), (rules) => [
      rules,
      document(
        { add: { table: { family: 'inet', name: 'foreign' } } },
        {
          add: {
            chain: { ...foreign, name: 'f', type: 'filter', hook: 'forward', prio: 0, policy: 'accept' },
          },
        },
        {
          add: {
            rule: {
              ...foreign,
              chain: 'f',
              expr: [
                { match: { op: '==', left: { payload: { protocol: 'tcp', field: 'dport' } }, right: 502 } },
                { drop: null },
              ],
            },
          },
        },
      ),
    ]);
    const lacking = differences(less);
    t.ok(lacking.length > 0);
    for (const { cell, seen } of lacking) {
      t.match(cell, { protocol: 'tcp', port: 502, declared: true });
      t.equal(seen, 'nothing');
    }
  },
);

t.test(
  'observing, everything passes and is counted; also with the addresses of the demonstration',
  { skip: skip || long },
  async (t) => {
    const open = await probed(guarded('observe'));
    t.same(differences(open), []);
    t.ok(requests(open).every((line) => line.endsWith(' answered')));
    const unruled = differences(await probed(guarded('enforce'), () => []));
    const slipped = unruled.filter(({ cell }) => cell.request !== undefined);
    t.ok(slipped.length > 0 && slipped.every(({ seen }) => seen === 'answered'), 'no guard is asked');

    const ports = await probed(bridged('observe'));
    t.same(differences(ports), []);
    t.ok(claims(ports).every((line) => line.endsWith(' arrived')));
    const unguarded = await probed(bridged('enforce'), () => []);
    t.ok(
      claims(unguarded).every((line) => line.endsWith(' arrived')),
      'without the table everybody is believed',
    );

    const small = await probed(plant('observe'));
    t.same(differences(small), []);
    t.ok(small.wouldDeny > 0);

    const demo = spawnSync(process.execPath, [`${REPOSITORY}src/main.ts`, 'firewall', 'probe', '--json'], {
      cwd: REPOSITORY,
      encoding: 'utf8',
    });
    t.equal(demo.status, 0, demo.stderr);
    t.match(JSON.parse(demo.stdout), { mode: 'observe', 'one-host-for-each': 'device', differences: [] });
  },
);

for (const how of ['SIGINT', 'SIGTERM', 'SIGKILL', 'a host that is killed'] as const) {
  t.test(`nothing is left after ${how}`, { skip: skip || (how !== 'SIGINT' && long) }, async (t) => {
    const before = outside();
    const folder = t.testdir({ 'gateway.yaml': guarded('enforce') });
    const child = spawn(process.execPath, [join(REPOSITORY, 'src/main.ts'), 'firewall', 'probe'], {
      cwd: folder,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
    const over = once(child, 'close').then(([code]: unknown[]) => code);
    const [first] = await until('hosts of the twin, and its guard', () =>
      agents().length > 3 && running(GUARD).length > 0 ? agents() : undefined,
    );
    if (how === 'a host that is killed') process.kill(first ?? 0, 'SIGKILL');
    else child.kill(how);
    const code = await over;

    await until('the end of all hosts', () => running(AGENT, GUARD).length === 0);
    t.equal(outside(), before, 'no namespace and no interface more than before');
    if (how === 'SIGKILL') return;
    t.equal(code, 1);
    t.match(
      said,
      how === 'a host that is killed'
        ? /the twin host .*SIGKILL.*nothing is left/s
        : /the probe was stopped; nothing is left/,
    );
  });
}
