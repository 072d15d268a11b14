import { GATEWAY } from '../config/zones.ts';
import { GUARD_PORTS } from './guards.ts';
import type { Flow, Policy } from './policy.ts';

// Which ports are tried between two zones of a twin: what the file says of them, and what it says of others.

export interface Service {
  readonly protocol: 'tcp' | 'udp' | 'icmp';
  readonly port: number;
}

/** Services that are in nobody's file, as they come: what is worth least to a plant and most to an intruder. */
const UNDECLARED: readonly Service[] = [
  { protocol: 'tcp', port: 23 },
  { protocol: 'udp', port: 69 },
];
const PING: Service = { protocol: 'icmp', port: 0 };
/** Of the ports that are kept for guards. */
const OUTERMOST: readonly Service[] = Object.values(GUARD_PORTS).map((port) => ({ protocol: 'tcp', port }));
const LAST_PORT = 65_535;

export class Services {
  readonly #flows: ReadonlyMap<string, readonly Flow[]>;
  readonly #named: readonly Service[];
  readonly #guards: readonly Service[];
  readonly #known = new Map<string, Between>();

  constructor({ flows, mode }: Pick<Policy, 'flows' | 'mode'>) {
    this.#flows = Map.groupBy(flows, ({ from, to }) => `${from.zone} ${to.zone}`);
    this.#named = unique(flows.flatMap(endsOf));
    this.#guards = guardPorts(flows, mode);
  }

  /** Flows that allow something from one zone to another. */
  flows(from: string, to: string): readonly Flow[] {
    return this.#flows.get(`${from} ${to}`) ?? [];
  }

  between(from: string, to: string): Between {
    const key = `${from} ${to}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const flows = [...this.flows(from, to), ...(from === to ? [] : this.flows(to, from))];
    const own = unique(flows.flatMap(endsOf));
    const guards = to === GATEWAY ? this.#guards : OUTERMOST;
    const near = unique([...own, ...flows.flatMap(beside), ...guards, ...UNDECLARED, PING]);
    const has = new Set(near.map(text));
    const made = { own, near, far: this.#named.filter((one) => !has.has(text(one))) };
    this.#known.set(key, made);
    return made;
  }
}

export interface Between {
  /** Of the flows between two zones, in either direction. */
  readonly own: readonly Service[];
  /** Those, the ports beside them, ping, guards, and some of nobody. */
  readonly near: readonly Service[];
  /** Of all other flows: declared elsewhere, and never between these two. */
  readonly far: readonly Service[];
}

const text = ({ protocol, port }: Service): string => `${protocol}/${port}`;
const unique = (services: readonly Service[]): Service[] => [
  ...new Map(services.map((one) => [text(one), one])).values(),
];

function endsOf({ protocol, ports }: Flow): Service[] {
  if (protocol === 'icmp' || protocol === 'icmpv6') return [];
  return ports.filter((port) => port > 0).map((port) => ({ protocol, port }));
}

/** The ports on both sides of a flow, and its own of the other protocol. */
function beside({ protocol, ports: [low, high] }: Flow): Service[] {
  if (protocol === 'icmp' || protocol === 'icmpv6') return [];
  const other = protocol === 'tcp' ? 'udp' : 'tcp';
  const ports = [low - 1, high + 1].filter((port) => port > 0 && port <= LAST_PORT);
  return [...ports.map((port) => ({ protocol, port })), { protocol: other, port: Math.max(1, low) }];
}

/**
 * Where guarded connections end on the gateway. A guard hangs up on strangers, which looks like an answer or not: where
 * everything passes, nothing can be told of it.
 */
function guardPorts(flows: Policy['flows'], mode: Policy['mode']): Service[] {
  const used = flows.flatMap(({ guard }) => guard?.listeners.map(({ port }) => port) ?? []);
  if (mode === 'observe') return OUTERMOST.filter(({ port }) => !used.includes(port));
  return [...OUTERMOST, ...used.map((port): Service => ({ protocol: 'tcp', port }))];
}
