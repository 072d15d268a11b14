import { join } from 'node:path';
import t from 'tap';
import { leaveConfirmed } from '../netd/bed.ts';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { REPOSITORY } from '../support/process.ts';
import { until } from '../support/wait.ts';
import { CLIENT, DEVICE, GuardedPlant, type LivingClient } from './plant.ts';

// A living connection through the guard, which ends it in the gateway: there are two legs to cut, and no third way.

const YAML = `
gateway: { id: plant, data: ./data }
zones:
  control: { vlan: 10, subnet: [10.20.10.0/24, "fd00:10::/64"] }
  supervision: { vlan: 40, subnet: [10.20.40.0/24, "fd00:40::/64"] }
conduits:
  - { from: supervision, to: control, allow: [modbus-tcp], because: "HMI", guard: { read: ["holding:0-9"], write: ["holding:5"] } }
classes:
  press: { zone: control, protocol: modbus, timeout: 1500ms, points: { p: { at: "coil:0" } } }
devices:
  press-1: { class: press, at: "modbus-tcp://10.20.10.11" }
  press-2: { class: press, at: "modbus-tcp://[fd00:10::12]" }
segmentation:
  mode: enforce
  management: { zone: supervision, from: [10.20.40.2], allow: [ssh] }
`;

const READ = /^read done/;
/** Gateway target device failed to respond (Application Protocol V1.1b3, 7). */
const UNANSWERED = /^read refused 11/;

const skip =
  noRules() ||
  missingPeer('nsenter', 'util-linux') ||
  missingPeer('conntrack', 'conntrack') ||
  (process.getuid?.() === 0 ? false : 'three namespaces are wired by root');
t.jobs = 2;

const sluice = async (plant: GuardedPlant, ...args: readonly string[]): Promise<string> =>
  plant.run('gateway', process.execPath, join(REPOSITORY, 'src/main.ts'), ...args);

async function confirmed(t: Parameters<typeof GuardedPlant.make>[0]): Promise<GuardedPlant> {
  const plant = await GuardedPlant.make(t, YAML);
  leaveConfirmed(join(plant.folder, 'data'), YAML);
  await plant.guard();
  return plant;
}

/** Nothing reaches the device, while so many packets of the client are dropped. */
async function isCut(plant: GuardedPlant): Promise<boolean> {
  const dropped = async (): Promise<number> => {
    const listed = await plant.run('gateway', 'nft', 'list', 'counters', 'table', 'inet', 'sluice');
    return [...listed.matchAll(/counter n_denied\S+ \{\s+packets (\d+)/g)].reduce(
      (sum, [, n]) => sum + Number(n),
      0,
    );
  };
  const [before, from] = [plant.asked, await dropped()];
  await until('packets that are tried', async () => (await dropped()) >= from + 3, 60_000);
  return plant.asked === before;
}

const bothOf = (plant: GuardedPlant): readonly LivingClient[] => [
  plant.living(DEVICE[4]),
  plant.living(DEVICE[6]),
];

t.test('an island cuts what goes through the guard, and back', { skip }, async (t) => {
  const plant = await confirmed(t);
  const clients = bothOf(plant);
  for (const client of clients) await client.more(READ);

  await sluice(plant, 'firewall', 'island', '--because', 'a worm');
  const anew = plant.sh('client', `timeout 1 bash -c '</dev/tcp/${DEVICE[4]}/502' && echo in || echo out $?`);
  t.ok(await isCut(plant), 'at once, with its connections');
  t.match(await anew, /^out 124/, 'and no new one comes in: nothing answers');

  await sluice(plant, 'firewall', 'rejoin');
  for (const client of clients) await client.more(READ);
});

t.test('a device in quarantine gets nothing through the guard, also not later', { skip }, async (t) => {
  const plant = await confirmed(t);
  const [four, six] = [plant.living(DEVICE[4]), plant.living(DEVICE[6])];
  for (const client of [four, six]) await client.more(READ);

  await sluice(plant, 'quarantine', 'press-1', '--because', 'odd answers');
  const before = four.count(READ);
  four.write(); // while the connection to the device still stands, as far as the guard knows
  await six.more(READ);
  await four.more(/^write refused 11/, 1);
  t.equal(four.count(READ), before, 'its client hears no more of it, and is told so');
  t.ok(four.count(UNANSWERED) > 0);

  await sluice(plant, 'release', 'press-1');
  await four.more(READ);
  await six.more(READ);
  await until(
    'nothing that the kernel still has to send',
    async () => !/FIN-WAIT-1/.test(await plant.run('gateway', 'ss', '-Htan', 'dst', DEVICE[4])),
    60_000,
  );
  t.same(plant.writes, [], 'what was refused meanwhile does not arrive late');
});

t.test('a client in quarantine gets nothing out of the guard', { skip }, async (t) => {
  const plant = await confirmed(t);
  const clients = bothOf(plant);
  for (const client of clients) await client.more(READ);

  for (const address of [CLIENT[4], CLIENT[6]])
    await sluice(plant, 'quarantine', address, '--because', 'a stolen laptop');
  const counts = clients.map((client) => client.count(/./));
  t.ok(await isCut(plant));
  t.same(
    clients.map((client) => client.count(/./)),
    counts,
  );

  for (const address of [CLIENT[4], CLIENT[6]]) await sluice(plant, 'release', address);
  for (const client of clients) await client.more(READ);
});
