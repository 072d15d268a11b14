import { parseAddress } from '../config/network.ts';
import { GATEWAY } from '../config/zones.ts';
import { ICMP, ICMPV6, TCP, UDP } from './packet.ts';
import type { AddressRange, Flow, Policy } from './policy.ts';
import { type Family, ofFamily } from './ranges.ts';

// Connections that the kernel follows, judged by the policy as if they were opened now.

/** One entry of connection tracking, as it was opened and as it is answered. Addresses as the kernel prints them. */
export interface Connection {
  readonly family: Family;
  /** Number of the protocol. */
  readonly protocol: number;
  readonly source: string;
  readonly destination: string;
  /** 0 where the protocol has none. */
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** Type, code and id, where the protocol is ICMP. */
  readonly icmp: { readonly type: number; readonly code: number; readonly id: number } | undefined;
  /** Who answers: where another table put another address in the place of the destination, not that one. */
  readonly answers: { readonly address: string; readonly port: number };
  /** Zone of connection tracking, which has nothing to do with ours. */
  readonly trackingZone: number;
  readonly id: number;
}

/** `not ours` is left alone, whatever it is: see `Judge`. */
export type Judgement = 'allowed' | 'forbidden' | 'not ours';

/** An end of a connection: the gateway, a zone, or the network that no zone has. */
interface Place {
  readonly zone: string | undefined;
  /** It has its zone only because no other zone has the address. */
  readonly byDefault: boolean;
  readonly family: Family;
  readonly value: bigint;
}

const ECHO_REQUEST: Readonly<Record<Family, number>> = { 4: 8, 6: 128 };
const PROTOCOLS: Readonly<Record<Flow['protocol'], number>> = {
  tcp: TCP,
  udp: UDP,
  icmp: ICMP,
  icmpv6: ICMPV6,
};

/**
 * What the policy says of a connection. Its ends are told apart by their addresses: those of this machine are the
 * gateway, any other belongs to the zone that has it. Left alone are
 * - what the machine says to itself,
 * - what touches no zone: both ends in the network that no zone has, or one there and the gateway at the other,
 * - what stays within a zone that has the rest of the world: containers of this machine are there too, by address.
 * One end in a zone and the other where no zone is: no flow allows it, so it is forbidden. In mode observe everything
 * passes, and nothing is.
 */
export class Judge {
  readonly #policy: Policy;
  readonly #own: ReadonlySet<string>;
  readonly #places = new Map<string, Place>();
  readonly #judgements = new Map<string, Judgement>();
  readonly #flows = new Map<string, Flow[]>();
  /** Guarded flows, by zone and port of the gateway that their connections are led to. */
  readonly #led = new Map<string, { readonly flow: Flow; readonly address: bigint }>();
  readonly #rest: ReadonlySet<string>;

  constructor(policy: Policy, ownAddresses: readonly string[]) {
    this.#policy = policy;
    this.#own = new Set(ownAddresses.map((text) => parseAddress(text)?.text ?? text));
    this.#rest = new Set(policy.zones.filter(({ rest }) => rest === true).map(({ name }) => name));
    for (const flow of policy.flows) {
      const key = `${flow.from.zone} ${flow.to.zone} ${PROTOCOLS[flow.protocol]}`;
      this.#flows.set(key, [...(this.#flows.get(key) ?? []), flow]);
      for (const { address, port } of flow.guard?.listeners ?? [])
        this.#led.set(`${flow.from.zone} ${port}`, { flow, address });
    }
  }

  /** The flow that would let it be opened. */
  flowOf(connection: Connection): string | undefined {
    const from = this.#place(connection.source);
    const to = this.#place(connection.answers.address);
    return this.#flow(connection, from, to)?.name;
  }

  judge(connection: Connection): Judgement {
    if (this.#policy.mode !== 'enforce') return 'not ours';
    const { protocol, source, destination, destinationPort, answers, icmp } = connection;
    const wanted = `${destination} ${destinationPort}`;
    const key = `${protocol} ${source} ${answers.address} ${icmp?.type ?? `${answers.port} ${wanted}`}`;
    const known = this.#judgements.get(key);
    if (known !== undefined) return known;
    const judgement = this.#judged(connection);
    this.#judgements.set(key, judgement);
    return judgement;
  }

  #judged(connection: Connection): Judgement {
    const { source, answers } = connection;
    const from = this.#place(source);
    const to = this.#place(answers.address);
    const ends = [from.zone, to.zone].filter((zone) => zone !== undefined && zone !== GATEWAY);
    if (ends.length === 0) return 'not ours';
    if (from.zone === to.zone && from.byDefault && to.byDefault) return 'not ours';
    if (this.#passesObserved(from.zone, to.zone)) return 'not ours';
    return this.#flow(connection, from, to) === undefined ? 'forbidden' : 'allowed';
  }

  #flow(connection: Connection, from: Place, to: Place): Flow | undefined {
    const { answers, protocol, icmp } = connection;
    const led = to.zone === GATEWAY && protocol === TCP ? this.#ledFlow(connection, from) : undefined;
    if (led !== undefined) return led;
    const flows = this.#flows.get(`${from.zone} ${to.zone} ${protocol}`) ?? [];
    const port = icmp === undefined ? answers.port : undefined;
    if (icmp !== undefined && icmp.type !== ECHO_REQUEST[from.family]) return undefined;
    const allows = ({ from: source_, to: destination, ports: [low, high], guard }: Flow): boolean =>
      // Past a guard there is no way.
      guard?.grade !== 'enforced' &&
      (port === undefined || (low <= port && port <= high)) &&
      holds(ofFamily(source_, from.family), from.value) &&
      holds(ofFamily(destination, to.family), to.value);
    return flows.find(allows);
  }

  /** A connection that ends at a guard: allowed where it wanted to go to the device behind it. */
  #ledFlow({ destination, destinationPort, answers }: Connection, from: Place): Flow | undefined {
    const led = this.#led.get(`${from.zone} ${answers.port}`);
    const wanted = parseAddress(destination);
    if (led === undefined || wanted?.value !== led.address || destinationPort !== led.flow.ports[0])
      return undefined;
    return holds(ofFamily(led.flow.from, from.family), from.value) ? led.flow : undefined;
  }

  #passesObserved(from: string | undefined, to: string | undefined): boolean {
    return (this.#policy.observed ?? []).some((pair) => pair.from === from && pair.to === to);
  }

  #place(text: string): Place {
    const known = this.#places.get(text);
    if (known !== undefined) return known;
    const place = this.#placeOf(text);
    this.#places.set(text, place);
    return place;
  }

  #placeOf(text: string): Place {
    const address = parseAddress(text);
    if (address === undefined) return { zone: undefined, byDefault: false, family: 4, value: -1n };
    const { family, value } = address;
    if (this.#own.has(address.text)) return { zone: GATEWAY, byDefault: false, family, value };
    const zone = this.#policy.zones.find((one) => holds(ofFamily(one, family), value))?.name;
    return { zone, byDefault: zone !== undefined && this.#rest.has(zone), family, value };
  }
}

/** Ranges are sorted and disjoint: those of ten thousand devices are looked through in fourteen steps. */
function holds(ranges: readonly AddressRange[], value: bigint): boolean {
  let [low, high] = [0, ranges.length - 1];
  while (low <= high) {
    const middle = (low + high) >> 1;
    const range = ranges[middle];
    if (range === undefined) return false;
    if (value < range.low) high = middle - 1;
    else if (value > range.high) low = middle + 1;
    else return true;
  }
  return false;
}
