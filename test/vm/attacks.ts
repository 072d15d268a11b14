import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { run } from '../../src/cli/network.ts';
import { bring } from '../../src/netd/bring.ts';
import { Nft } from '../../src/netd/nft.ts';
import * as frames from '../segmentation/frames.ts';
import { rulesOf } from '../segmentation/policies.ts';
import { until } from '../support/wait.ts';
import { be, type Check, sh } from './check.ts';

// Spoofed ARP at an access port of a bridge that filters VLANs, against a real victim at another one. That the bridge
// filters, and gives the port a VLAN of its own, stops none of these by itself.

const FILE = 'test/golden/vm/bridge.yaml';
const [ATTACKER, VICTIM] = ['02:00:00:00:10:11', '02:00:00:00:10:12'];
const [OWN, GATEWAY] = ['10.20.10.11', '10.20.10.1'];
const TRUE_GATEWAY = '02:00:00:00:10:01';

const BED = `
sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
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
python3 -c '
import socket, sys
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
out.bind(("far_lan1", 0))
for frame in sys.argv[1:]: out.send(bytes.fromhex(frame))
' "$@"`;

export async function attacks(check: Check): Promise<void> {
  sh(BED);
  await check(
    'attacks: a bridge with VLAN filtering, a port for the attacker and one for the victim',
    async () => {
      be((await run(['apply', '--without-networkd', '--root', '/run/attacks', FILE])) === 0, 'not applied');
      await until(
        'a way',
        () => spawnSync('ip', ['netns', 'exec', 'victim', 'ping', '-qc1', '-W5', GATEWAY]).status === 0,
        60_000,
      );
    },
  );
  const spoof = frames.disguises(frames.arp(ATTACKER, GATEWAY));
  await check('attacks: without the table the victim is poisoned, tagged or not', async () => {
    const poisoned: boolean[] = [];
    for (const [, frame] of spoof) poisoned.push(await believes(frame));
    be(poisoned.slice(0, 3).every(Boolean), JSON.stringify(poisoned));
    return spoof.map(([name], i) => `${name}: ${poisoned[i] === true ? 'poisoned' : 'not'}`).join(', ');
  });
  await check(
    'attacks: the table loads',
    async () => void (await bring(new Nft(), rulesOf(readFileSync(FILE, 'utf8')))),
  );
  for (const [name, frame] of spoof)
    await check(`attacks: with it not by ${name}`, async () => be(!(await believes(frame)), 'poisoned'));
  sh(
    'nft flush ruleset; ip netns delete victim; ip link delete br-plant; ip link delete eth1; ip link delete lan1',
  );
}

const neighbour = (address: string): string => sh(`ip -n victim -o neighbour show ${address}`);

/** Does the victim take the attacker for the gateway? */
async function believes(frame: frames.Frame): Promise<boolean> {
  sh(SPOOF, frame.toString('hex'), frames.arp(ATTACKER, OWN).toString('hex'));
  await until('the second frame', () => neighbour(OWN).includes(ATTACKER), 60_000);
  return neighbour(GATEWAY).includes(ATTACKER);
}
