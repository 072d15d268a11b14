import * as fc from 'fast-check';
import { type AddressValue, addressText, ipv4Value, ipv6Value } from '../../src/segmentation/addresses.ts';
import type { Packet, State } from '../../src/segmentation/packet.ts';
import type { AddressRange, Flow, Policy, Side } from '../../src/segmentation/policy.ts';
import { ofFamily } from '../../src/segmentation/ranges.ts';
import { FLAGS, icmp, plain, tcp, type Transport, udp } from './datagrams.ts';
import { ethernet } from './frames.ts';
import { markOf } from './traced.ts';

// Random packets for the policies of anyPolicy, as frames and as what the proof takes them for, and a gateway that they
// are sent to.

/** Interfaces of anyPolicy, what is routed there (all else goes to the last one), and addresses of the gateway there. */
export const LINKS = [
  { name: 'vlan10', routes: ['10.20.10.0/24'], own: ['10.20.10.1'] },
  { name: 'vlan20', routes: ['fd00:20::/120'], own: ['fd00:20::1'] },
  { name: 'a23456789012345', routes: ['10.20.40.0/24', 'fd00:40::/120'], own: ['10.20.40.1', 'fd00:40::1'] },
  { name: 'eth0', routes: ['default', '::/0'], own: ['192.0.2.1', '2001:db8::1'] },
] as const;
const OWN: readonly string[] = LINKS.flatMap(({ own }) => own);
export const gatewayMac = (link: number): string => `02:00:00:00:0${link}:01`;

export interface Link {
  readonly name: string;
  readonly routes: readonly string[];
  readonly own: readonly string[];
}

/** The peer has no address: it answers nothing, so that every packet is one of ours. */
export const bedOf = (links: readonly Link[]): string => `
unshare -n sleep 600 & peer=$!
trap 'kill $peer' EXIT
while [ "$(readlink /proc/$peer/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do :; done
sysctl -qw net.ipv6.conf.default.addr_gen_mode=1 net.ipv6.conf.default.accept_dad=0
sysctl -qw net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.all.rp_filter=0
sysctl -qw net.ipv4.conf.default.send_redirects=0 net.ipv4.conf.all.send_redirects=0
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
ip link set lo up
${links
  .map(
    ({ name, routes, own }, i) => `
ip link add ${name} address ${gatewayMac(i)} type veth peer name p${i} address 02:00:00:00:0${i}:02 netns $peer
ip link set ${name} up; nsenter -t $peer -n ip link set p${i} up
ip address add 169.254.${i}.1/30 dev ${name}; ip -6 address add fe80::1/64 dev ${name} nodad
ip neighbour add 169.254.${i}.2 lladdr 02:00:00:00:0${i}:02 dev ${name} nud permanent
ip -6 neighbour add fe80::2 lladdr 02:00:00:00:0${i}:02 dev ${name} nud permanent
${own.map((address) => `ip address add ${address}/${address.includes(':') ? '128 nodad' : '32'} dev ${name}`).join('\n')}
${routes
  .map(
    (route) => `ip route add ${route} via ${route.includes(':') ? 'fe80::2' : `169.254.${i}.2`} dev ${name}`,
  )
  .join('\n')}`,
  )
  .join('\n')}
nsenter -t $peer -n sysctl -qw net.ipv6.conf.all.disable_ipv6=1
python3 "$2" $peer "$1"`;

type Protocol = Flow['protocol'];
export interface Header {
  readonly family: 4 | 6;
  readonly link: number;
  readonly source: AddressValue;
  readonly destination: AddressValue;
  readonly protocol: Protocol;
  readonly port: number;
}

const NUMBERS = { tcp: 6, udp: 17, icmp: 1, icmpv6: 58 } as const satisfies Record<Protocol, number>;
export const value = (text: string): AddressValue => ipv4Value(text) ?? ipv6Value(text) ?? 0;
const inSubnet = (address: AddressValue, subnet: string): boolean => {
  const [base = '', length = '0'] = subnet.split('/');
  const first = value(base);
  if (typeof first !== typeof address) return false;
  const size = 1n << BigInt((typeof first === 'number' ? 32 : 128) - Number(length));
  return BigInt(first) <= BigInt(address) && BigInt(address) < BigInt(first) + size;
};
export const linkTo = (address: AddressValue): number => {
  const found = LINKS.findIndex(({ routes }) =>
    routes.some((route) => route.includes('/') && route !== '::/0' && inSubnet(address, route)),
  );
  return found < 0 ? LINKS.length - 1 : found;
};
const isOwn = (address: AddressValue): boolean => OWN.includes(addressText(address));
/** Others are stopped by the routing of the kernel, before any rule is asked. */
const NOWHERE = ['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/3', '::/8', 'fe80::/9', 'ff00::/8'];
const isSendable = ({ source, destination }: Header): boolean =>
  [source, destination].every((one) => !NOWHERE.some((subnet) => inSubnet(one, subnet))) && !isOwn(source);

const pick = (ranges: readonly AddressRange[], family: 4 | 6): fc.Arbitrary<AddressValue> => {
  // The ends of ranges and their neighbours: where a rule can be wrong by one.
  const ends = ranges.flatMap(({ low, high }) => [low, high, low - 1n, high + 1n, (low + high) / 2n]);
  const last = family === 4 ? (1n << 32n) - 1n : (1n << 128n) - 1n;
  return fc
    .constantFrom(...ends.filter((one) => one >= 0n && one <= last))
    .map((one) => (family === 4 ? Number(one) : one));
};
const sideOf = (side: Side, family: 4 | 6): fc.Arbitrary<AddressValue> =>
  side.zone === 'gateway'
    ? fc.constantFrom(...OWN.filter((one) => one.includes(':') === (family === 6)).map(value))
    : pick(ofFamily(side, family), family);

/** One that a flow may be meant for, or nearly. */
function headerFor({ from, to, protocol, ports }: Flow): fc.Arbitrary<Header> {
  const families = ([4, 6] as const).filter(
    (family) =>
      ofFamily(from, family).length > 0 &&
      ofFamily(to, family).length > 0 &&
      protocol !== (family === 4 ? 'icmpv6' : 'icmp'),
  );
  const own = LINKS.findIndex(({ name }) => name === from.interface);
  return fc.constantFrom(...families).chain((family) =>
    fc.record<Header>({
      family: fc.constant(family),
      link: fc.oneof(
        { weight: 6, arbitrary: fc.constant(own) },
        { weight: 1, arbitrary: fc.nat(LINKS.length - 1) },
      ),
      source: sideOf(from, family),
      destination: sideOf(to, family),
      protocol: fc.oneof(
        { weight: 6, arbitrary: fc.constant(protocol) },
        { weight: 1, arbitrary: fc.constantFrom<Protocol>('tcp', 'udp', family === 4 ? 'icmp' : 'icmpv6') },
      ),
      port: fc
        .constantFrom(ports[0], ports[1], ports[0] - 1, ports[1] + 1, 502)
        .map((port) => Math.min(Math.max(port, 1), 65_535)),
    }),
  );
}

export const headers = ({ flows }: Policy, count: number): fc.Arbitrary<Header[]> => {
  const coming = flows.filter(({ from }) => from.zone !== 'gateway');
  if (coming.length === 0) return fc.constant([]);
  const one = fc.oneof(...coming.map(headerFor)).filter(isSendable);
  return fc.array(one, { minLength: count, maxLength: count });
};

/** Above those that services listen on. */
const FIRST_PORT = 10_000;

/** What opens a connection, and what would answer it. */
function transport({ protocol, port, family }: Header, serial: number, answers: boolean): Transport {
  const ours = FIRST_PORT + serial;
  if (protocol === 'tcp')
    return answers
      ? tcp([port, ours], FLAGS.syn | FLAGS.ack, '', { acknowledged: 1_001 })
      : tcp([ours, port], FLAGS.syn, '');
  if (protocol === 'udp') return udp(answers ? [port, ours] : [ours, port], 'x');
  const echo = family === 4 ? (answers ? 0 : 8) : answers ? 129 : 128;
  return icmp(family, echo, [ours, 1], 'x');
}

export interface Sent {
  readonly packet: Packet;
  /** As the trace names it. */
  readonly mark: string;
  readonly line: string;
  /** The port of the gateway that its connection is led to. */
  readonly led: number | undefined;
}

export interface Sending {
  readonly policy: Policy;
  readonly state: State;
  readonly answers: boolean;
  /** Of the connection: no two in one run of the kernel have the same. */
  readonly serial: number;
  /** Of the packet, in its source address. */
  readonly mark: number;
}

export function sent(header: Header, { policy, state, answers, serial, mark }: Sending): Sent {
  const { family, protocol, link } = header;
  const [source, destination] = answers
    ? [header.destination, header.source]
    : [header.source, header.destination];
  const ends = { source: addressText(source), target: addressText(destination) };
  const made = transport(header, serial, answers);
  const [bytes = Buffer.alloc(0)] = plain(ends, made);
  const frame = ethernet(gatewayMac(link), markOf(mark), family === 4 ? 0x0800 : 0x86dd, bytes);
  const isIcmp = protocol === 'icmp' || protocol === 'icmpv6';
  const toUs = isOwn(destination);
  const packet: Packet = {
    hook: toUs ? 'input' : 'forward',
    family: family === 4 ? 'ipv4' : 'ipv6',
    state,
    in: LINKS[link]?.name ?? '',
    out: toUs ? '' : (LINKS[linkTo(destination)]?.name ?? ''),
    source,
    destination,
    protocol: NUMBERS[protocol],
    port: isIcmp ? (made.bytes[0] ?? 0) : made.bytes.readUInt16BE(2),
    hopLimit: 64,
    ether: 0x0201_0000_0000 + mark,
    reversePath: linkTo(source) === link,
    quarantine: 0,
  };
  return {
    packet,
    mark: markOf(mark),
    line: `p${link} ${frame.toString('hex')}`,
    led: state === 'new' ? ledTo(packet, policy) : undefined,
  };
}

const among = (ranges: readonly AddressRange[], address: AddressValue): boolean =>
  ranges.some(({ low, high }) => low <= BigInt(address) && BigInt(address) <= high);

/** As the file declares it. */
function ledTo(packet: Packet, { flows }: Policy): number | undefined {
  const family = packet.family === 'ipv4' ? 4 : 6;
  for (const { from, ports, guard } of flows) {
    if (guard?.grade !== 'enforced' || packet.protocol !== NUMBERS.tcp || packet.port !== ports[0]) continue;
    if (packet.in !== from.interface || !among(ofFamily(from, family), packet.source)) continue;
    const to = guard.listeners.find(
      (one) => one.family === family && one.address === BigInt(packet.destination),
    );
    if (to !== undefined) return to.port;
  }
  return undefined;
}
