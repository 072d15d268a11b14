import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { inNamespace, noRules } from '../support/namespace.ts';
import { rulesOf } from './policies.ts';

const skip = noRules();
const YAML = `
gateway: { id: plant }
zones: { control: { vlan: 10, subnet: 10.0.0.0/24 }, uplink: { interface: eth0 } }
conduits: [{ from: uplink, to: control, allow: [ssh], because: maintenance, only: { from: [192.0.2.7] } }]
segmentation: { mode: observe }
`;

/** The command as a person runs it. */
function prove(args: readonly string[], cwd: string, input = '') {
  const main = join(process.cwd(), 'src/main.ts');
  return spawnSync(process.execPath, [main, 'firewall', 'prove', ...args], { cwd, input, encoding: 'utf8' });
}

/** What nft lists of these rules after a change. */
function listed(folder: string, change = ''): string {
  const ran = inNamespace(
    `cd "$1"; nft -j -f rules.json; nft "$2"; nft -j list table inet sluice`,
    folder,
    change,
  );
  if (ran.status !== 0) throw new Error(ran.stderr);
  return ran.stdout;
}

t.test('what nft lists is proven, from standard input or from a file', { skip }, (t) => {
  const folder = t.testdir({ 'gateway.yaml': YAML, 'rules.json': rulesOf(YAML) });
  const listing = listed(folder, 'list tables').replace(/^table .*\n/, '');
  const place = t.testdir({ 'plant.yaml': YAML, 'listing.json': listing });

  t.match(prove(['--listing', '-', 'plant.yaml'], place, listing), {
    status: 0,
    stderr: '',
    stdout: /^proven: .* \(mode observe, /,
  });
  const file = prove(['--listing', 'listing.json', '--json', 'plant.yaml'], place);
  t.equal(file.status, 0);
  const proof: unknown = JSON.parse(file.stdout);
  const packet = { hook: 'forward', state: 'new', source: '192.0.2.7', port: 22 };
  t.match(proof, { proven: true, witnesses: [{ flow: 'conduit-uplink-control-0', packet }] });
  t.end();
});

t.test('a difference is told by a packet and the rule, with exit status 1', { skip }, (t) => {
  const folder = t.testdir({ 'gateway.yaml': YAML, 'rules.json': rulesOf(YAML) });
  const listing = listed(folder, 'insert rule inet sluice g_forward tcp dport 23 accept');

  const { status, stdout, stderr } = prove(['--listing', '-'], folder, listing);

  t.equal(stderr, '');
  t.equal(status, 1);
  t.match(
    stdout,
    /^not proven: .*\n(?: .*\n)* {2}forward new .* tcp\/23: is not declared and passes, by g_forward, rule 1 /,
  );
  t.match(JSON.parse(prove(['--listing', '-', '--json'], folder, listing).stdout), {
    proven: false,
    differences: [
      { packet: { port: 23, quarantine: [] }, declared: false, accepted: true, outcome: 'accept' },
    ],
  });
  t.end();
});

t.test('a listing of everything is read for our tables alone, those of the ports too', { skip }, (t) => {
  const yaml = readFileSync('test/golden/segmentation/30-access-ports-of-a-bridge/gateway.yaml', 'utf8');
  const folder = t.testdir({ 'gateway.yaml': yaml, 'rules.json': rulesOf(yaml) });
  const script = `cd "$1"; nft -j -f rules.json; nft add table ip docker; nft add table bridge other
    nft 'add chain ip docker f { type filter hook forward priority 0; policy drop; }'
    nft 'add rule ip docker f meta mark 7 accept'; nft 'add chain bridge other f { type filter hook forward priority 0; }'
    TZ=UTC nft -j list ruleset > all; TZ=UTC nft -j list table inet sluice > packets
    nft delete table inet sluice; TZ=UTC nft -j list ruleset > frames`;
  t.match(inNamespace(script, folder), { status: 0, stderr: '' });

  t.match(prove(['--listing', 'all'], folder), { status: 0, stderr: '', stdout: /^proven: / });
  t.match(prove(['--listing', 'packets'], folder), {
    status: 1,
    stdout:
      /^not proven: frames .*\n {2}any frame at an access port: is not declared and passes, by nothing: there is no table bridge sluice\n.*list ruleset\n$/,
  });
  t.match(prove(['--listing', 'frames'], folder), {
    status: 1,
    stdout: /^not proven: no rules are loaded: the listing has no table inet sluice\n$/,
  });
  t.end();
});

t.test('what is not understood is not proven', { skip }, (t) => {
  const folder = t.testdir({ 'gateway.yaml': YAML, 'rules.json': rulesOf(YAML) });
  const listing = listed(folder, 'insert rule inet sluice g_forward meta mark 7 accept');

  const { status, stdout } = prove(['--listing', '-'], folder, listing);

  t.equal(status, 1);
  t.match(stdout, /^not proven: .*\n {2}g_forward, rule 1 \(handle \d+\) says \{"match":.*"mark"/);
  t.end();
});

t.test('nothing, half a listing and a file that is not there are no proof', (t) => {
  const folder = t.testdir({ 'gateway.yaml': YAML });

  t.match(prove(['--listing', '-'], folder, ''), {
    status: 1,
    stdout: /^not proven: .*\n {2}the listing is not JSON\n/,
  });
  t.match(prove(['--listing', '-'], folder, '{"nftables":[{"chain":'), { status: 1, stdout: /is not JSON/ });
  t.match(prove(['--listing', '-'], folder, '{"nftables":[]}'), {
    status: 1,
    stdout: /^not proven: no rules are loaded: the listing has no table inet sluice\n$/,
  });
  t.match(prove(['--listing', 'nowhere'], folder), {
    status: 1,
    stdout: '',
    stderr: /cannot read the listing nowhere/,
  });
  t.end();
});
