import { readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { LOG_GROUP } from '../../src/segmentation/denials.ts';
import { text } from '../../src/segmentation/field.ts';
import { recordsOf } from '../../src/segmentation/shadow-path.ts';
import { inNamespace, noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { REPOSITORY } from '../support/process.ts';
import * as frames from './frames.ts';
import { rulesOf } from './policies.ts';

// What an attack does to a host that runs Linux: with the table it goes on as before, and without it it is taken in, so
// that each attack here is one.

const skip =
  noRules() ||
  missingPeer('python3', 'python3') ||
  missingPeer('ip', 'iproute2') ||
  missingPeer('nsenter', 'util-linux');
const noDhcp = skip || missingPeer('busybox', 'busybox-static');

const ATTACKER = '02:00:00:00:10:11';
const VICTIM = '02:00:00:00:10:12';
/** Whoever really has an address that the attacker takes. */
const REAL = '02:00:00:00:10:99';
const OWN_LINK_LOCAL = 'fe80::ff:fe00:1011';
/** Where the attacker says that a router is: made up, and not the one of HONEST, who says to be none. */
const ROUTER = 'fe80::beef';
const PLANT = `
gateway: { id: plant7 }
zones:
  control: { interface: br0, within: allow, subnet: [10.20.10.0/24, "fd00:10::/64"], address: [10.20.10.1/24, "fd00:10::1/64"], ports: [lan1, lan2, lan3] }
  uplink: { interface: eth0 }
classes:
  press: { zone: control, protocol: modbus, points: { running: { at: "coil:0" } } }
devices:
  press-1: { class: press, at: "modbus-tcp://10.20.10.11", mac: "${ATTACKER}", port: lan1 }
  press-2: { class: press, at: "modbus-tcp://10.20.10.12", mac: "${VICTIM}", port: lan2 }
  press-4: { class: press, at: "modbus-tcp://10.20.10.14", mac: "02:00:00:00:10:14" }
  press-6: { class: press, at: "modbus-tcp://[fd00:10::16]", mac: "02:00:00:00:10:16" }
segmentation: { mode: enforce, management: { zone: uplink, from: [10.1.2.0/24], allow: [ssh] } }
`;

/** A bridge with three ports; the victim is a host of its own behind lan2. */
const BED = `
cd "$1"
for call in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e "$call" ] || echo 0 > "$call"; done
host() { # a process in a network namespace of its own, which is gone with it
  unshare -n sleep 900 & made=$!
  until [ "$(readlink /proc/$made/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do kill -0 $made; done
}
in_host() { nsenter -t "$1" -n -- sh -euc "$2"; }
echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6
echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6
host; victim=$made; others=
trap 'kill $victim $others' EXIT
ip link add br0 type bridge mcast_snooping 0 stp_state 0
for i in 1 2 3; do ip link add lan$i type veth peer name far$i; ip link set lan$i master br0 up; done
ip link set far1 up; ip link set far3 up; ip link set far2 address ${VICTIM} netns $victim
ip link set br0 up
in_host $victim 'echo 0 > /proc/sys/net/ipv6/conf/all/accept_dad; echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad
  echo 0 > /proc/sys/net/ipv4/neigh/far2/locktime
  ip link set far2 up'
[ ! -s rules.json ] || nft -j -f rules.json
`;

/** Addresses whose neighbour entry of the victim an attack would change, by what it sends. */
const POISONS: Readonly<Record<string, frames.Frame>> = {
  '10.20.10.1': frames.arp(ATTACKER, '10.20.10.1'),
  '10.20.10.14': frames.arp(ATTACKER, '10.20.10.14'),
  'fd00:10::1': frames.neighbour(ATTACKER, 'fe80::abcd', 'fd00:10::1'),
  'fe80::1': frames.neighbour(ATTACKER, 'fe80::abcd', 'fe80::1'),
  'fd00:10::16': frames.neighbour(ATTACKER, 'fe80::abcd', 'fd00:10::16'),
};
/** What the attacker may say of itself: the victim has taken in all that came before when it has taken in these. */
const HONEST: Readonly<Record<string, frames.Frame>> = {
  '10.20.10.11': frames.arp(ATTACKER, '10.20.10.11'),
  [OWN_LINK_LOCAL]: frames.neighbour(ATTACKER, OWN_LINK_LOCAL, OWN_LINK_LOCAL),
};

const ATTACK = `
in_host $victim 'ip address add 10.20.10.12/24 dev far2; ip address add fd00:10::12/64 dev far2 nodad
  for one in ${[...Object.keys(POISONS), ...Object.keys(HONEST)].join(' ')}; do
    ip neigh replace $one lladdr ${REAL} nud stale dev far2
  done'
python3 ${REPOSITORY}test/support/frames.py far3 ${LOG_GROUP} < cases > passed
tries=0
until [ "$(in_host $victim 'ip neigh' | grep -cE '^(10.20.10.11|${OWN_LINK_LOCAL}) .*${ATTACKER}')" = 2 ]; do
  tries=$((tries + 1)); [ $tries -lt 400 ] || { echo "the victim hears nothing" >&2; exit 1; }; sleep 0.05
done
in_host $victim 'ip -j neigh' > neighbours; in_host $victim 'ip -j -6 route show default' > routes`;

interface Hit {
  /** Hardware address that the victim has for each address. */
  readonly neighbours: ReadonlyMap<string, string>;
  readonly defaultRoutes: readonly string[];
}

function attacked(t: Test, rules: string): Hit {
  const router = frames.advert(ATTACKER, ROUTER);
  const sent = [...Object.values(POISONS), router, ...Object.values(HONEST)];
  const mark = frames.ethernet(frames.BROADCAST, ATTACKER, 0x88b5, Buffer.alloc(46));
  const cases = sent.map((frame) => `far1 ${frame.toString('hex')} ${mark.toString('hex')}\n`).join('');
  const place = t.testdir({ cases, 'rules.json': rules });
  const ran = inNamespace(`${BED}${ATTACK}`, place);
  t.equal(ran.stderr, '');
  t.equal(ran.status, 0);
  const read = (name: string): readonly Readonly<Record<string, unknown>>[] =>
    recordsOf(JSON.parse(readFileSync(`${place}/${name}`, 'utf8')));
  return {
    neighbours: new Map(read('neighbours').map(({ dst, lladdr }) => [text(dst), text(lladdr)])),
    defaultRoutes: read('routes').map(({ gateway }) => text(gateway)),
  };
}

t.test('without the table a victim believes what is forged', { skip }, async (t) => {
  const { neighbours, defaultRoutes } = attacked(t, '');

  for (const address of Object.keys(POISONS)) t.equal(neighbours.get(address), ATTACKER, address);
  t.same(defaultRoutes, [ROUTER], 'a rogue router leads its packets');
});

t.test('with it the victim keeps its neighbours and its routes', { skip }, async (t) => {
  const { neighbours, defaultRoutes } = attacked(t, rulesOf(PLANT));

  for (const address of Object.keys(POISONS)) t.equal(neighbours.get(address), REAL, address);
  t.same(defaultRoutes, []);
});

/** A server at lan1 and a client at lan2, both those of busybox. */
const DHCP = `
host; server=$made; others=$server
ip link set far1 down; ip link set far1 address ${ATTACKER} netns $server
in_host $server 'ip link set far1 up; ip address add 10.20.10.11/24 dev far1'
printf '%s\\n' 'start 10.20.10.200' 'end 10.20.10.201' 'interface far1' "lease_file $1/leases" 'opt router 10.20.10.11' > dhcp.conf
: > leases
nsenter -t $server -n -- busybox udhcpd -f dhcp.conf > server 2>&1 & others="$server $!"
tries=0
until grep -qs 'started' server; do tries=$((tries + 1)); [ $tries -lt 400 ]; sleep 0.05; done
printf '#!/bin/sh\\necho "$1 $ip $router" >> %s/client\\n' "$1" > take; chmod +x take; : > client
nsenter -t $victim -n -- busybox udhcpc -f -n -q -i far2 -t $2 -T 1 -s "$1/take" > asked 2>&1 || true
nft -j list table bridge sluice > table 2>/dev/null || true`;

/** Asks so often, a second apart. */
const dhcp = (t: Test, rules: string, asks: number): { readonly server: string; readonly client: string } => {
  const place = t.testdir({ 'rules.json': rules });
  const ran = inNamespace(`${BED}${DHCP}`, place, String(asks));
  t.equal(ran.stderr, '');
  t.equal(ran.status, 0);
  const [server = '', client = ''] = ['server', 'client'].map((name) =>
    readFileSync(`${place}/${name}`, 'utf8'),
  );
  return { server, client };
};

t.test('without the table a client takes the address of a rogue DHCP server', { skip: noDhcp }, async (t) => {
  const { client } = dhcp(t, '', 20);

  t.match(client, /^bound 10\.20\.10\.20[01] 10\.20\.10\.11$/m);
});

t.test('with it the client hears no offer, although the server made one', { skip: noDhcp }, async (t) => {
  const { server, client } = dhcp(t, rulesOf(PLANT), 2);

  t.match(server, /sending OFFER/);
  t.match(client, /^leasefail /m);
  t.notMatch(client, /bound/);
});
