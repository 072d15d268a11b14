import t from 'tap';
import { objectsOf } from '../../src/segmentation/canonical.ts';
import { text } from '../../src/segmentation/field.ts';
import { inNamespace, noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { rulesOf } from './policies.ts';

// Whose denials have a line in the log, while somebody in another zone sends from more addresses than are remembered:
// real packets, and the sources that the kernel remembers to have logged.

const skip = noRules() || missingPeer('python3', 'python3') || missingPeer('ip', 'iproute2');

const RULES = rulesOf(`
gateway: { id: plant }
zones:
  control: { vlan: 10, subnet: "fd00:10::/64" }
  supervision: { vlan: 40, subnet: "fd00:40::/64" }
  uplink: { interface: eth0 }
segmentation: { mode: enforce, management: { zone: uplink, from: [192.0.2.0/24], allow: [ssh] } }
`);
/** More than a set remembers; see \`denials.ts\`. */
const MANY = 5_000;

const SCRIPT = `cd "$1"
for at in vlan10 vlan40; do
  ip link add $at address 02:00:00:00:00:01 type veth peer name far-$at
  echo 0 > /proc/sys/net/ipv6/conf/$at/accept_dad
  echo 1 > /proc/sys/net/ipv6/conf/far-$at/disable_ipv6
  ip link set $at up; ip link set far-$at up
done
ip -6 address add fd00:10::1/64 dev vlan10 nodad; ip -6 address add fd00:40::1/64 dev vlan40 nodad
nft -j -f rules.json
cat > send.py <<'END'
import socket, struct, sys
# To port 9 of the gateway: python3 send.py INTERFACE TO SOURCES FIRST COUNT
at, to, sources, first, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
wire.bind((at, 0))
to = socket.inet_pton(socket.AF_INET6, to)
def packet(host):
    source = socket.inet_pton(socket.AF_INET6, "%s::%x" % (sources, host))
    body = struct.pack(">HHHH", 1000, 9, 8, 0)
    pseudo = source + to + struct.pack(">II", 8, 17) + body
    total = sum(struct.unpack(">%dH" % (len(pseudo) // 2), pseudo))
    while total > 0xffff:
        total = (total & 0xffff) + (total >> 16)
    body = struct.pack(">HHHH", 1000, 9, 8, ~total & 0xffff or 0xffff)
    return bytes.fromhex("02000000000102000000001186dd") + struct.pack(">IHBB", 6 << 28, 8, 17, 64) + source + to + body
for host in range(first, first + count):
    wire.send(packet(host))
END
seen() { # counter at least
  tries=0
  until [ "$(nft list counter inet sluice $1 | sed -n 's/.*packets \\([0-9]*\\) .*/\\1/p')" -ge $2 ]; do
    tries=$((tries + 1)); [ $tries -lt 200 ] || { echo "$1 does not come to $2" >&2; exit 1; }; sleep 0.05
  done
}
python3 send.py far-vlan10 fd00:10::1 fd00:10 256 ${MANY}
seen n_denied_control_gateway ${MANY - 500}
python3 send.py far-vlan10 fd00:10::1 fd00:99 256 ${MANY}
seen n_denied_spoofed ${MANY - 500}
python3 send.py far-vlan40 fd00:40::1 fd00:40 5 1
python3 send.py far-vlan40 fd00:40::1 fd00:99 5 1
seen n_denied_supervision_gateway 1
nft -j list table inet sluice`;

t.test('a host with thousands of addresses hides nobody of another zone', { skip }, async (t) => {
  const ran = inNamespace(SCRIPT, t.testdir({ 'rules.json': RULES }));

  t.equal(ran.stderr, '');
  t.equal(ran.status, 0);
  const remembered = JSON.stringify(
    (objectsOf(ran.stdout) ?? [])
      .filter(({ kind, inside }) => kind === 'set' && text(inside['name']).startsWith('q_log_'))
      .map(({ inside }) => [inside['name'], inside['elem']]),
  );
  t.ok(remembered.split('fd00:10::').length > 4_000, 'it filled what it could');
  t.match(remembered, /fd00:40::(?:0:)?5"/, 'and another zone is logged');
  t.match(remembered, /"q_log_iif",.*vlan40/, 'also for a source that is of no zone');
});
