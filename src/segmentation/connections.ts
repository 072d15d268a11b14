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
  /** Somebody did answer: it is more than a packet that was let through. */
  readonly answered: boolean;
  /** Zone of connection tracking, which has nothing to do with ours. */
  readonly trackingZone: number;
  readonly id: number;
}

/** `not ours` is left alone, whatever it is: see `Judge`. */
export type Judgement = 'allowed' | 'forbidden' | 'not ours';

/** An end of a connection: the gateway, a zone, or the network that no zone has. */
interface Place {
  /** More than one where several zones have the rest of the world: an address does not tell which of them. */
  readonly zones: readonly string[];
  /** It has its zones only because no other zone has the address. */
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
 * gateway, any other belongs to the zone that has it. What several zones may have, the rest of the world, is allowed as
 * soon as one of them has a flow for it. Left alone are
 * - what the machine says to itself,
 * - what touches no zone: both ends in the network that no zone has, or one there and the gateway at the other,
 * - what may stay within a zone that has the rest of the world: containers of this machine are there too, by address.
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

  /** The flows that would let it be opened: more than one where they overlap, or several zones may have its ends. */
  flowsOf(connection: Connection): string[] {
    const from = this.#place(connection.source);
    const to = this.#place(connection.answers.address);
    return [...this.#flowsFor(connection, from, to)].map(({ name }) => name);
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
    if (!from.zones.some(isZone) && !to.zones.some(isZone)) return 'not ours';
    if (from.byDefault && to.byDefault) return 'not ours';
    if (this.#passesObserved(from, to)) return 'not ours';
    const [flow] = this.#flowsFor(connection, from, to);
    return flow === undefined ? 'forbidden' : 'allowed';
  }

  *#flowsFor(connection: Connection, from: Place, to: Place): Generator<Flow, undefined> {
    const { answers, protocol, icmp } = connection;
    const led = to.zones.includes(GATEWAY) && protocol === TCP ? this.#ledFlow(connection, from) : undefined;
    if (led !== undefined) yield led;
    const port = icmp === undefined ? answers.port : undefined;
    if (icmp !== undefined && icmp.type !== ECHO_REQUEST[from.family]) return undefined;
    const allows = ({ from: source_, to: destination, ports: [low, high], guard }: Flow): boolean =>
      // Past a guard there is no way.
      guard?.grade !== 'enforced' &&
      (port === undefined || (low <= port && port <= high)) &&
      holds(ofFamily(source_, from.family), from.value) &&
      holds(ofFamily(destination, to.family), to.value);
    for (const one of from.zones) {
      for (const other of to.zones) {
        yield* this.#flows.get(`${one} ${other} ${protocol}`)?.filter(allows) ?? [];
      }
    }
    return undefined;
  }

  /** A connection that ends at a guard: allowed where it wanted to go to the device behind it. */
  #ledFlow({ destination, destinationPort, answers }: Connection, from: Place): Flow | undefined {
    const wanted = parseAddress(destination);
    return from.zones
      .flatMap((zone) => this.#led.get(`${zone} ${answers.port}`) ?? [])
      .find(
        ({ flow, address }) =>
          wanted?.value === address &&
          destinationPort === flow.ports[0] &&
          holds(ofFamily(flow.from, from.family), from.value),
      )?.flow;
  }

  #passesObserved(from: Place, to: Place): boolean {
    return (this.#policy.observed ?? []).some(
      (pair) => from.zones.includes(pair.from) && to.zones.includes(pair.to),
    );
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
    if (address === undefined) return { zones: [], byDefault: false, family: 4, value: -1n };
    const { family, value } = address;
    if (this.#own.has(address.text)) return { zones: [GATEWAY], byDefault: false, family, value };
    const names = this.#policy.zones
      .filter((one) => holds(ofFamily(one, family), value))
      .map(({ name }) => name);
    const declared = names.find((name) => !this.#rest.has(name));
    return declared === undefined
      ? { zones: names, byDefault: names.length > 0, family, value }
      : { zones: [declared], byDefault: false, family, value };
  }
}

const isZone = (name: string): boolean => name !== GATEWAY;

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
