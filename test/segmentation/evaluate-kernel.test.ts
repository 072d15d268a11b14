import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as fc from 'fast-check';
import t from 'tap';
import { ipv4Value, ipv6Value } from '../../src/segmentation/addresses.ts';
import { evaluate } from '../../src/segmentation/evaluate.ts';
import { ValueReader } from '../../src/segmentation/field-value.ts';
import { Follower } from '../../src/segmentation/follow.ts';
import { parseListing } from '../../src/segmentation/listing.ts';
import { ICMP, ICMPV6, type Packet, packetText } from '../../src/segmentation/packet.ts';
import { PacketSpace } from '../../src/segmentation/packet-space.ts';
import { inNamespace, noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { anyTable, commandsOf, UNREADABLE, WORLD } from './any-table.ts';

// Random tables in a real kernel, and real packets from a neighbour, of every protocol that rules ask for, answers that
// nobody asked for among them: those that the evaluation says pass have to
// arrive, and no others.

const skip = noRules() || missingPeer('python3', 'python3') || missingPeer('ip', 'iproute2');

/** How many tables; more by night. */
const TABLES = Number(process.env['KERNEL_TABLES'] ?? '60');

const BED = `
unshare -n sleep 300 & peer=$!
trap 'kill $peer' EXIT
while [ "$(readlink /proc/$peer/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do :; done
ip link add vlan10 address 02:00:00:00:00:01 type veth peer name eth0 address 02:00:00:00:00:03 netns $peer
for host in 1 2; do
  ip address add 10.0.0.$host/24 dev vlan10; ip -6 address add fd00::$host/64 dev vlan10 nodad
done
ip link set vlan10 up; ip link set lo up
nsenter -t $peer -n sh -euc '
  for host in 3 4; do ip address add 10.0.0.$host/24 dev eth0; ip -6 address add fd00::$host/64 dev eth0 nodad; done
  ip link set eth0 up; ip link set lo up
  for host in 1 2; do
    ip -6 neighbour add fd00::$host lladdr 02:00:00:00:00:01 dev eth0 nud permanent
    ip neighbour add 10.0.0.$host lladdr 02:00:00:00:00:01 dev eth0 nud permanent
  done'
python3 "$2" $peer "$1"`;

const RST = 4;
const ECHO_REPLIES: Readonly<Record<number, number>> = { [ICMP]: 0, [ICMPV6]: 129 };

/** `4 10.0.0.3 10.0.0.1 17 22 64 0`: family, source, target, protocol, port or type, hops, and what TCP says. */
function packetOf(text: string): Packet {
  const [version = '', source = '', destination = '', ...numbers] = text.split(' ');
  const [protocol = 0, port = 0, hopLimit = 0, flags = 0] = numbers.map(Number);
  const value = (address: string) => (version === '4' ? ipv4Value(address) : ipv6Value(address)) ?? 0;
  // Nobody asked for the answers, nothing is open that could be reset, and ICMP of the other family has no connections.
  const isForeign = protocol === (version === '4' ? ICMPV6 : ICMP);
  const isForged = flags === RST || ECHO_REPLIES[protocol] === port || isForeign;
  return {
    hook: 'input',
    family: version === '4' ? 'ipv4' : 'ipv6',
    state: isForged ? 'invalid' : 'new',
    in: 'vlan10',
    out: '',
    source: value(source),
    destination: value(destination),
    protocol,
    port,
    hopLimit,
    ether: 0x0200_0000_0003,
    reversePath: true,
    quarantine: 0,
  };
}

t.test('the kernel lets through what the evaluation says, and nothing else', { skip }, (t) => {
  const seed = Number(process.env['KERNEL_SEED'] ?? '11');
  const tables = fc.sample(anyTable('input'), { numRuns: TABLES, seed });
  const folder = t.testdir(
    Object.fromEntries(tables.map((objects, i) => [`${i}.json`, commandsOf(objects)])),
  );
  const ran = inNamespace(BED, folder, join(process.cwd(), 'test/segmentation/kernel-verdicts.py'));

  t.equal(ran.status, 0, ran.stderr);
  const sent = readFileSync(join(folder, 'sent'), 'utf8').split('\n');
  t.ok(sent.length >= 100, 'each by each');
  let [loaded, understood, passed, stopped] = [0, 0, 0, 0];
  for (const [i] of tables.entries()) {
    const file = join(folder, `${i}.arrived`);
    if (!existsSync(file)) continue;
    loaded += 1;
    const arrived = new Set(readFileSync(file, 'utf8').split('\n'));
    const space = new PacketSpace();
    for (const name of ['lo', ...WORLD.interfaces]) space.interfaceNumber(name);
    const values = new ValueReader((name) => space.interfaceNumber(name));
    const listing = parseListing(readFileSync(join(folder, `${i}.listing`), 'utf8'), values);
    const { accepted, gaps } = evaluate(space, listing);
    const unknown = gaps.filter(({ what }) => !UNREADABLE.test(what));
    t.same(unknown, []);
    if (gaps.length > 0) continue;
    understood += 1;
    const follower = new Follower(space, listing);
    for (const text of sent) {
      const packet = packetOf(text);
      const said = space.contains(accepted, packet);
      if (said) passed += 1;
      else stopped += 1;
      const { rule } = follower.follow(packet);
      if (said !== arrived.has(text))
        t.fail(`table ${i}: ${packetText(packet)} ${said ? 'passes' : 'is dropped'} by ${rule}`);
    }
  }
  t.comment(
    `${understood} of ${TABLES} tables, ${passed} packets passed and ${stopped} were dropped, seed ${seed}`,
  );
  t.ok(loaded >= TABLES * 0.7, 'nft takes most of the tables');
  t.ok(understood >= loaded * 0.4, 'and most of them are understood');
  t.ok(passed > TABLES * 6 && stopped > TABLES * 6, 'neither is rare');
  t.end();
});
