import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { run } from '../../src/cli/network.ts';
import { bring } from '../../src/netd/bring.ts';
import { Nft } from '../../src/netd/nft.ts';
import * as frames from '../segmentation/frames.ts';
import { rulesOf } from '../segmentation/policies.ts';
import { until } from '../support/wait.ts';
import { be, type Check, sh } from './check.ts';
import { noUnits } from './network.ts';

// Spoofed ARP at an access port of a bridge that filters VLANs, against a real victim at another one. That the bridge
// filters, and gives the port a VLAN of its own, stops none of these by itself.

const FILE = 'test/golden/vm/bridge.yaml';
const [ATTACKER, VICTIM] = ['02:00:00:00:10:11', '02:00:00:00:10:12'];
const [OWN, GATEWAY] = ['10.20.10.11', '10.20.10.1'];
/** Linux unpacks no ARP from 802.3 frames on Ethernet; controllers and printers do, so that it must not get there. */
const NOT_UNPACKED = 'LLC and SNAP';
const TRUE_GATEWAY = '02:00:00:00:10:01';

const BED = `
for name in eth1 lan1; do ip link add $name type veth peer name far_$name; done
ip netns add victim
ip link add lan2 type veth peer name far_lan2 netns victim
ip link set far_lan1 address ${ATTACKER} up; ip link set far_eth1 up
ip -n victim link set far_lan2 address ${VICTIM} up; ip -n victim address add 10.20.10.12/24 dev far_lan2
# The kernel keeps a neighbour for a second against whatever is said, and every spoof would look stopped.
ip netns exec victim sysctl -qw net.ipv4.neigh.far_lan2.locktime=0`;

/** Two neighbours of the victim, then the frame, and one that always passes and tells that the frame is through. */
const SPOOF = `
ip -n victim neighbour replace ${GATEWAY} lladdr ${TRUE_GATEWAY} dev far_lan2 nud stale
ip -n victim neighbour replace ${OWN} lladdr 02:00:00:00:00:01 dev far_lan2 nud stale
python3 test/vm/spoof.py "$@"`;

const SEND = `python3 -c '
import socket, sys
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
wire.bind(("far_lan1", 0))
wire.send(bytes.fromhex(sys.argv[1]))
' "$1"`;

export async function attacks(check: Check): Promise<void> {
  sh(BED);
  await check(
    'attacks: a bridge with VLAN filtering, a port for the attacker and one for the victim',
    async () => {
      be((await run(['apply', '--without-networkd', FILE])) === 0, 'not applied');
      await until(
        'a way',
        () =>
          spawnSync('ip', ['netns', 'exec', 'victim', 'busybox', 'ping', '-qc1', '-W5', GATEWAY]).status ===
          0,
        60_000,
      );
      // Else it asks the victim five seconds later whether that is still there, and is believed in the middle of a spoof.
      sh('ip neighbour flush all');
    },
  );
  const spoof = frames.disguises(frames.arp(ATTACKER, GATEWAY));
  await check(
    'attacks: without the table every frame arrives, and poisons where it is unpacked',
    async () => {
      const came = new Map<string, Came>();
      for (const [name, frame] of spoof) came.set(name, await comesOf(frame));
      const told = [...came].map(
        ([name, { arrives, poisons }]) =>
          `${name}: ${poisons ? 'poisoned' : arrives ? 'arrives' : 'stopped'}`,
      );
      const right = [...came].every(
        ([name, { arrives, poisons }]) => arrives && (poisons || name === NOT_UNPACKED),
      );
      be(right, told.join(', '));
      return told.join(', ');
    },
  );
  await check(
    'attacks: the table loads',
    async () => void (await bring(new Nft(), rulesOf(readFileSync(FILE, 'utf8')))),
  );
  for (const [name, frame] of spoof) {
    await check(`attacks: with it nothing arrives by ${name}`, async () => {
      const { arrives, poisons } = await comesOf(frame);
      be(!arrives && !poisons, arrives ? 'it arrives' : 'poisoned');
    });
  }
  await check('attacks: ports of a zone that says nothing of it are kept apart', async () => {
    await bring(new Nft(), rulesOf(readFileSync(FILE, 'utf8').replace('within: allow, ', '')));
    sh(`ip -n victim neighbour replace ${OWN} lladdr ${TRUE_GATEWAY} dev far_lan2 nud stale`);
    sh(SEND, frames.arp(ATTACKER, OWN).toString('hex'));
    await until(
      'a drop',
      () => !/packets 0 /.test(sh('nft list counter bridge sluice n_denied_within')),
      60_000,
    );
    be(neighbour(OWN).includes(TRUE_GATEWAY), 'it arrives');
  });
  sh(
    'nft flush ruleset; ip netns delete victim; ip link delete br-plant; ip link delete eth1; ip link delete lan1',
  );
  noUnits();
}

const neighbour = (address: string): string => sh(`ip -n victim -o neighbour show ${address}`);

interface Came {
  readonly arrives: boolean;
  /** The victim takes the attacker for the gateway. */
  readonly poisons: boolean;
}

async function comesOf(frame: frames.Frame): Promise<Came> {
  const said = sh(SPOOF, frame.toString('hex'), frames.arp(ATTACKER, OWN).toString('hex'));
  await until('the second frame', () => neighbour(OWN).includes(ATTACKER), 60_000);
  return { arrives: said.trim() === 'arrived', poisons: neighbour(GATEWAY).includes(ATTACKER) };
}
