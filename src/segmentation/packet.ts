import { type AddressValue, addressText } from './addresses.ts';

export const HOOKS = ['input', 'output', 'forward'] as const;
export type Hook = (typeof HOOKS)[number];

/** What conntrack says of a packet; exactly one of them. Neighbour discovery is always untracked. */
export const STATES = ['new', 'established', 'related', 'invalid', 'untracked'] as const;
export type State = (typeof STATES)[number];

export type Family = 'ipv4' | 'ipv6';

export const TCP = 6;
export const UDP = 17;
export const ICMP = 1;
export const ICMPV6 = 58;

/** A value that a packet does not have: no Ethernet header, a transport header too short for a port. */
export const ABSENT = -1;

/** One packet as the ruleset sees it, to be shown to a person or sent on purpose. */
export interface Packet {
  readonly hook: Hook;
  readonly family: Family;
  readonly state: State;
  /** Name of the interface it came in by; '' for what the gateway sends itself. */
  readonly in: string;
  /** Name of the interface it leaves by; '' for what the gateway takes itself. */
  readonly out: string;
  readonly source: AddressValue;
  readonly destination: AddressValue;
  readonly protocol: number;
  /** Destination port; type where the protocol is ICMP or ICMPv6; ABSENT where there is none. */
  readonly port: number;
  /** Time to live, or hop limit. */
  readonly hopLimit: number;
  /** Source address of the Ethernet frame, as a number; ABSENT where there is none. */
  readonly ether: number;
  /** The route back to the source leaves by the interface it came in by. */
  readonly reversePath: boolean;
  /** Bits of QUARANTINE: which of its addresses are in quarantine. */
  readonly quarantine: number;
  /**
   * Where its connection wanted to go before it was led elsewhere, as conntrack keeps it; left out: where the packet
   * goes. A dimension of its own: what the way there has to do with it, the redirects of a listing say.
   */
  readonly originalDestination?: AddressValue;
  readonly originalPort?: number;
}

/**
 * Whether an address is in quarantine is a property of the packet: thus a proof holds whoever is in quarantine now and
 * whoever will be.
 */
export const QUARANTINE = { ether: 1, source: 2, destination: 4 } as const;

/** `forward new vlan40 -> vlan10: 10.20.40.5 -> 10.20.10.11 tcp/502`. */
export function packetText(packet: Packet): string {
  const from = packet.in === '' ? 'gateway' : packet.in;
  const to = packet.out === '' ? 'gateway' : packet.out;
  const addresses = `${addressText(packet.source)} -> ${addressText(packet.destination)}`;
  const extras = [
    ...(packet.ether === ABSENT ? [] : [`from ${etherText(packet.ether)}`]),
    ...(packet.hopLimit === 64 ? [] : [`hop limit ${packet.hopLimit}`]),
    ...(packet.reversePath ? [] : ['no route back']),
    ...ledFrom(packet),
    ...inQuarantine(packet.quarantine).map((name) => `${name} in quarantine`),
  ];
  const tail = extras.length === 0 ? '' : ` (${extras.join(', ')})`;
  return `${packet.hook} ${packet.state} ${from} -> ${to}: ${addresses} ${serviceText(packet)}${tail}`;
}

function ledFrom(packet: Packet): string[] {
  const { destination, originalDestination: first = destination, port, originalPort = port } = packet;
  if (packet.hook !== 'input' || (first === destination && originalPort === port)) return [];
  return [`led here from ${addressText(first)} port ${originalPort}`];
}

function serviceText({ protocol, port }: Packet): string {
  const name = PROTOCOL_TEXT.get(protocol) ?? `protocol ${protocol}`;
  if (protocol === ICMP || protocol === ICMPV6) return port === ABSENT ? name : `${name} type ${port}`;
  return port === ABSENT ? `${name} without ports` : `${name}/${port}`;
}

const PROTOCOL_TEXT: ReadonlyMap<number, string> = new Map([
  [ICMP, 'icmp'],
  [TCP, 'tcp'],
  [UDP, 'udp'],
  [ICMPV6, 'icmpv6'],
]);

export function etherText(value: number): string {
  return (value.toString(16).padStart(12, '0').match(/../g) ?? []).join(':');
}

/** Names of the bits of QUARANTINE that are set. */
export function inQuarantine(bits: number): string[] {
  return Object.entries(QUARANTINE).flatMap(([name, bit]) => ((bits & bit) === 0 ? [] : [name]));
}
