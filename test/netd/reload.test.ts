import { join } from 'node:path';
import t from 'tap';
import { inNamespace, noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { rulesOf } from '../segmentation/policies.ts';

// Real packets through a gateway whose rules change all the time: none that is denied gets through, and those that are
// allowed before and after arrive. No packet is ever answered, so that each is judged as a new one.

const skip = noRules() || missingPeer('python3', 'python3') || missingPeer('ip', 'iproute2');

const RELOADS = Number(process.env['RELOADS'] ?? '50');
/** More than this is no accident of a busy machine: a black-out would cost hundreds. */
const MOST_LOST = 0.001;

const HEAD = `
gateway: { id: plant7 }
zones:
  control:     { vlan: 10, subnet: 10.20.10.0/24 }
  supervision: { vlan: 40, subnet: 10.20.40.0/24 }
  uplink:      { interface: eth0 }
segmentation: { mode: enforce, management: { zone: uplink, from: [10.1.2.0/24], allow: [ssh] } }
conduits:
  - { from: supervision, to: control, allow: [udp/6000-6010], because: "by subnet: an interval map" }
  - { from: supervision, to: control, allow: [udp/6100], only: { from: [10.20.40.5], to: [10.20.10.9] }, because: "a hash map" }
`;
/** Two hundred elements in each of the maps that the packets are looked up in, and a rule more in their chain. */
const MORE = Array.from(
  { length: 100 },
  (_, i) =>
    `  - { from: supervision, to: control, allow: [tcp/${2_000 + i}, udp/${8_000 + 20 * i}-${8_009 + 20 * i}], only: { from: [10.20.40.${i + 100}], to: [10.20.10.${i + 100}] }, because: "more" }\n`,
);
const WIDE = `${HEAD}${MORE.join('')}  - { from: supervision, to: control, allow: [icmp], because: "a rule" }\n`;

const BED = `
cd "$1"
unshare -n sleep 300 & control=$!
unshare -n sleep 300 & supervision=$!
trap 'kill $control $supervision' EXIT
for peer in $control $supervision; do
  while [ "$(readlink /proc/$peer/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do :; done
done
sysctl -qw net.ipv4.ip_forward=1
ip link set lo up
link() { # namespace, vlan, host
  ip link add vlan$2 type veth peer name eth0 netns $1
  ip address add 10.20.$2.1/24 dev vlan$2; ip link set vlan$2 up
  nsenter -t $1 -n sh -euc "ip address add 10.20.$2.$3/24 dev eth0; ip link set eth0 up; ip route add default via 10.20.$2.1"
}
link $control 10 9
link $supervision 40 5
nft -j -f narrow.json
nsenter -t $control -n python3 "$2" count stop 6000 6100 7000 > arrived & counting=$!
while [ ! -s arrived ]; do kill -0 $counting; done
nsenter -t $supervision -n python3 "$2" send stop 6000 6100 7000 > sent & sending=$!
"$3" "$4" ${RELOADS} wide.json narrow.json > changed
touch stop; wait $sending; wait $counting
echo "$(cat sent) $(tail -n 1 arrived) $(cat changed)"
`;

t.test('no denied packet gets through a reload, and no allowed one is lost', { skip }, async (t) => {
  const folder = t.testdir({ 'narrow.json': rulesOf(HEAD), 'wide.json': rulesOf(WIDE) });
  const here = join(process.cwd(), 'test/netd');

  const ran = inNamespace(BED, folder, join(here, 'packets.py'), process.execPath, join(here, 'reload.ts'));

  t.equal(ran.status, 0, ran.stderr);
  const figures = ran.stdout.trim().split(' ').map(Number);
  const [sent1 = 0, sent2 = 0, denied = 0, arrived1 = 0, arrived2 = 0, leaked = 0, changed = 0] = figures;
  const [sent, lost] = [sent1 + sent2, sent1 + sent2 - arrived1 - arrived2];
  t.comment(
    `${changed} reloads: ${lost} of ${sent} allowed packets lost, ${leaked} of ${denied} denied leaked`,
  );
  t.equal(changed, RELOADS, 'every reload changed rules and elements, in place');
  t.ok(sent > 1_000 && denied > 500 && arrived1 > 0 && arrived2 > 0, 'there was traffic');
  t.equal(leaked, 0);
  t.ok(lost <= sent * MOST_LOST, `${lost} lost`);
});
