import t, { type Test } from 'tap';
import { inNamespace, noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import * as frames from './frames.ts';
import { rulesOf } from './policies.ts';

// Who says to be a router, in a zone of the plant and where the rest of the world is: real advertisements, and the
// routes that the kernel of the gateway takes from them. It forwards no IPv6, and believes them, as it does by itself.

const skip = noRules() || missingPeer('python3', 'python3') || missingPeer('ip', 'iproute2');

const PLANT = (mode: string): string => `
gateway: { id: plant }
zones:
  control: { vlan: 10, subnet: "fd00:10::/64" }
  uplink: { interface: eth0 }
segmentation: { mode: ${mode}, management: { zone: uplink, from: [192.0.2.0/24], allow: [ssh] } }
`;
const ROUTERS = { vlan10: 'fe80::beef', eth0: 'fe80::cafe' } as const;

/** That of the plant comes first: when the other one has brought a route, it was judged too. */
const SCRIPT = `cd "$1"; shift
for at in vlan10 eth0; do
  ip link add $at type veth peer name far-$at
  echo 1 > /proc/sys/net/ipv6/conf/far-$at/disable_ipv6
  echo 0 > /proc/sys/net/ipv6/conf/$at/accept_dad
  ip link set $at up; ip link set far-$at up
done
[ ! -s rules.json ] || nft -j -f rules.json
routes() { ip -6 route show default | sed -n 's/.* via \\([^ ]*\\) dev \\([^ ]*\\) .*/\\2 \\1/p' | sort; }
tries=0
until routes | grep -q 'eth0 ${ROUTERS.eth0}'; do
  tries=$((tries + 1)); [ $tries -lt 100 ] || { echo "no router is believed" >&2; exit 1; }
  python3 - "$@" <<'END'
import socket, sys
for place in sys.argv[1:]:
    name, frame = place.split("=")
    one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    one.bind((name, 0))
    one.send(bytes.fromhex(frame))
END
  sleep 0.05
done
routes`;

function routesOf(t: Test, rules: string): string[] {
  const place = t.testdir({ 'rules.json': rules });
  const sent = Object.entries(ROUTERS).map(
    ([at, router]) => `far-${at}=${frames.advert('02:00:00:00:66:66', router).toString('hex')}`,
  );
  const ran = inNamespace(SCRIPT, place, ...sent);
  t.equal(ran.stderr, '');
  t.equal(ran.status, 0);
  return ran.stdout.trim().split('\n');
}

t.test('a device of the plant gives the gateway no default route; the uplink does', { skip }, async (t) => {
  const both = [`eth0 ${ROUTERS.eth0}`, `vlan10 ${ROUTERS.vlan10}`];

  t.same(routesOf(t, ''), both, 'without rules the kernel believes whoever says so');
  t.same(routesOf(t, rulesOf(PLANT('enforce'))), both.slice(0, 1));
  t.same(routesOf(t, rulesOf(PLANT('observe'))), both, 'observing denies nothing');
});
