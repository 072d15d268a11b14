import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parseConfig } from '../../src/config/parse.ts';
import { guardsOf } from '../../src/segmentation/guards.ts';
import { missingPymodbus } from '../support/modbus-peers.ts';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { until } from '../support/wait.ts';
import { policyOf, rulesOf } from '../segmentation/policies.ts';
import { prove } from '../../src/segmentation/prove.ts';
import { DEVICE, GuardedPlant, NO_RESETS } from './plant.ts';

// Client, gateway and device in namespaces of their own; the device tells what it really carried out.

const YAML = `
gateway: { id: plant }
zones:
  control: { vlan: 10, subnet: [10.20.10.0/24, "fd00:10::/64"] }
  supervision: { vlan: 40, subnet: [10.20.40.0/24, "fd00:40::/64"] }
conduits:
  - { from: supervision, to: control, allow: [modbus-tcp/read], because: "HMI reads the presses" }
classes:
  press: { zone: control, protocol: modbus, points: { p: { at: "coil:0" } } }
devices:
  press-1: { class: press, at: "modbus-tcp://10.20.10.11" }
  press-2: { class: press, at: "modbus-tcp://[fd00:10::12]" }
segmentation:
  mode: enforce
  management: { zone: supervision, from: [10.20.40.2], allow: [ssh] }
`;

const EVERYWHERE = [
  'plain', 'pipelined', 'split', 'split in the header', 'merged and split', 'bytewise', 'urgent', 'urgent within a read',
  'a length that covers the write', 'a length that ends early', 'a length of nothing', 'another protocol id',
  'an oversized length', 'read and write',
]; // biome-ignore format: a list of names
const BY_HAND = ['overlap', 'fragments', 'ip options'];

const isRoot = process.getuid?.() === 0;
const skip =
  noRules() ||
  missingPeer('nsenter', 'util-linux') ||
  missingPeer('mbpoll', 'mbpoll') ||
  missingPymodbus() ||
  (isRoot ? false : 'three namespaces are wired by root');

t.test('through the guard reads pass and no write does, whatever is tried', { skip }, async (t) => {
  const plant = await GuardedPlant.make(t, YAML);
  const guard = await plant.guard();
  await plant.sh('client', NO_RESETS);

  const proof = prove(
    policyOf(YAML),
    await plant.run('gateway', 'nft', '-j', 'list', 'table', 'inet', 'sluice'),
  );
  t.equal(proof.proven, true, 'the kernel holds what is declared');

  for (const host of [DEVICE[4], DEVICE[6]]) {
    const said = await plant.peer('pymodbus', host);
    t.match(said, /read \[7, 7\]/, `${host}: pymodbus reads`);
    t.match(said, /write Exception Response\(134, 6, IllegalFunction\)/, `${host}: and its write is refused`);
  }
  const polled = await plant.run(
    'client',
    'mbpoll',
    '-1',
    '-0',
    '-a',
    '1',
    '-t',
    '4',
    '-r',
    '0',
    '-c',
    '2',
    DEVICE[4],
  );
  t.match(polled, /\[0\]:\s+7/, 'mbpoll reads');
  await t.rejects(
    plant.run('client', 'mbpoll', '-1', '-0', '-a', '1', '-t', '4', '-r', '5', DEVICE[4], '9'),
    {
      message: /Illegal function/,
    },
  );

  for (const host of [DEVICE[4], DEVICE[6]]) t.comment(await plant.attack(host, ...EVERYWHERE));
  t.comment(await plant.attack(DEVICE[4], ...BY_HAND));
  t.comment(await plant.attack(DEVICE[6], 'extension headers'));
  await plant.marker(DEVICE[4], DEVICE[6]);
  t.same(plant.writes, [], 'the device carried out nothing');
  t.match(
    guard.told.join('\n'),
    /"what":"guard: a request is forbidden".*"client":"10\.20\.40\.5".*"write":"holding:5","values":"4660"/,
  );

  await guard.stop();
  t.match(await plant.attack(DEVICE[4], 'plain'), /no way/, 'without the process nothing passes');

  await plant.sh('gateway', 'nft flush chain inet sluice g_guard');
  t.match(await plant.attack(DEVICE[4], 'plain'), /no way/, 'and nothing passes beside it');
  t.same(plant.writes, []);
});

/** A file with a third device, where a span of holding registers may be written. */
const written = (low: number, high: number): string =>
  YAML.replace('modbus-tcp/read', 'modbus-tcp')
    .replace('reads the presses"', `reads the presses", guard: { write: ["holding:${low}-${high}"] }`)
    .replace('press-2:', 'press-3: { class: press, at: "modbus-tcp://10.20.10.13" }\n  press-2:');

/** A file whose guard of press-1 listens where the rules of another one lead connections to `host`. */
function sharingPort([low, last]: readonly [number, number], host: string): string {
  const parsed = parseConfig(written(low, last), 'gateway.yaml');
  if (!('config' in parsed)) throw new Error(JSON.stringify(parsed.problems));
  const { config } = parsed;
  const portOf = (high: number, wanted: string): number | undefined => {
    const write = [{ table: 'holding', low, high }] as const;
    const conduits = config.conduits.map((one) => ({ ...one, guard: one.guard && { ...one.guard, write } }));
    const targets = guardsOf({ ...config, conduits }).flatMap((guard) => guard.targets);
    return targets.find((target) => target.host === wanted)?.listener;
  };
  const port = portOf(last, host);
  for (let high = last + 1; high < 65_536; high += 1)
    if (portOf(high, DEVICE[4]) === port) return written(low, high);
  throw new Error('no file has a guard at this port');
}

t.test('a gateway of another file serves nobody whom the rules lead to it', { skip }, async (t) => {
  for (const [what, host] of [
    ['of another device', '10.20.10.13'],
    ['of the same device, with other limits', DEVICE[4]],
  ] as const) {
    const older = sharingPort([5, 6], host);
    const plant = await GuardedPlant.make(t, written(5, 6));
    writeFileSync(join(plant.folder, 'older.yaml'), older);
    writeFileSync(join(plant.folder, 'older.json'), rulesOf(older));
    const guard = await plant.guard('older.yaml');

    t.match(await plant.attack(host, 'plain'), /^plain : (?:no way.*)?\n$/, what);
    t.same(plant.writes, [], 'no device hears of it');
    t.match(guard.told.join('\n'), /"what":"guard: the rules in force are of another gateway.yaml/);

    await plant.sh('gateway', `nft -j -f ${plant.folder}/older.json`);
    t.match(await plant.attack(DEVICE[4], 'plain'), /^plain : [0-9a-f]+060005/, 'by its own rules it serves');
    t.equal(plant.writes.length, 1);
  }
});

t.test('a connection from before there was a guard does not go on past it', { skip }, async (t) => {
  const plant = await GuardedPlant.make(t, YAML);
  await plant.sh(
    'gateway',
    'nft flush ruleset; nft add table ip keep; nft add chain ip keep f "{ type filter hook forward priority 0; }"; nft add rule ip keep f ct state established accept',
  );
  const script =
    'exec 3<>/dev/tcp/10.20.10.11/502; echo open; read -r go; printf "\\0\\2\\0\\0\\0\\6\\1\\6\\0\\5\\0\\1" >&3; cat <&3 2>&1 >/dev/null; echo over';
  const before = plant.run(
    'client',
    'bash',
    '-c',
    `mkfifo ${plant.folder}/go; ${script.replace('read -r go', `read -r go <${plant.folder}/go`)}`,
  );
  await until(
    'its connection',
    async () =>
      (await plant.run('gateway', 'cat', '/proc/net/nf_conntrack').catch(() => '')).includes('dport=502') ||
      (await plant.run('device', 'ss', '-Htn')).includes('10.20.40.5'),
  );

  await plant.sh('gateway', `nft -j -f ${plant.folder}/rules.json; echo go >${plant.folder}/go`);

  // Only a reset ends it: without one the client would send its write again for minutes, and see no error.
  const said = await before.catch(String);
  t.match(said, /open[^]*reset by peer/, 'and the client is told at once');
  const counted = await plant.run('gateway', 'nft', 'list', 'counter', 'inet', 'sluice', 'n_denied_guard');
  t.match(counted, /packets 1 /, 'by the first packet');
  t.same(plant.writes, [], 'its write never arrives');
});

const at = (host: string, ...names: readonly string[]) => names.map((name) => [name, host] as const);

t.test('without a guard the same attempts reach the device', { skip }, async (t) => {
  const plant = await GuardedPlant.make(t, YAML.replace('modbus-tcp/read', 'modbus-tcp'));
  await plant.sh('client', NO_RESETS);
  // One of the devices goes by lengths, the other by functions: what is none to the one is one to the other.
  const byFunction = ['urgent within a read', 'a length that covers the write', 'an oversized length'];
  const attempts = [
    ...at(DEVICE[4], ...EVERYWHERE.filter((name) => !byFunction.includes(name)), ...BY_HAND),
    ...at(DEVICE[6], ...byFunction, 'extension headers'),
  ];

  for (const [name, host] of attempts) {
    const before = plant.writes.length;
    await plant.attack(host, name);
    await until(`the write of ${name}`, () => plant.writes.length > before, 5_000);
  }
  t.pass('each of them is an attempt');
});
