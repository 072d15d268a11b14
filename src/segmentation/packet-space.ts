import {
  type Box,
  DIMENSIONS,
  type Dimension,
  exactly,
  type Interval,
  maximum,
  minimum,
  sortIntervals,
  type Value,
} from './boxes.ts';
import { ABSENT, HOOKS, type Packet, STATES, TCP } from './packet.ts';
import { BELOW_ALL, branchAt, LEAF, type PacketSet, PacketSets } from './packet-set.ts';

/** One for all interfaces that neither the declaration nor the ruleset names; no interface can be called so. */
export const OTHER_INTERFACE = 'any other';

/** Packet sets of one proof, with the names of interfaces and single packets out of sets. */
export class PacketSpace extends PacketSets<Dimension> {
  /** '' is no interface: the way in of what the gateway sends, the way out of what it takes. */
  readonly #interfaces = new Map<string, number>([
    ['', 0],
    [OTHER_INTERFACE, 1],
  ]);

  constructor() {
    super({ names: DIMENSIONS, minimum, maximum });
  }

  /** All that were named up to now, and the other one: as many as there are in the world of this proof. */
  get interfaces(): { readonly low: number; readonly high: number } {
    return { low: 1, high: this.#interfaces.size - 1 };
  }

  /** The number that stands for the name of an interface. */
  interfaceNumber(name: string): number {
    const known = this.#interfaces.get(name);
    if (known !== undefined) return known;
    this.#interfaces.set(name, this.#interfaces.size);
    return this.#interfaces.size - 1;
  }

  interface(...names: readonly string[]): Interval[] {
    return sortIntervals(names.map((name) => exactly(this.interfaceNumber(name))));
  }

  /** Exactly this packet. */
  only(packet: Packet): PacketSet {
    return this.set(this.#box(packet));
  }

  /** All packets with its hook, family and interfaces. */
  sameWay(packet: Packet): PacketSet {
    const { hook, family, in: from, out } = this.#box(packet);
    return this.set({
      ...(hook && { hook }),
      ...(family && { family }),
      ...(from && { in: from }),
      ...(out && { out }),
    });
  }

  contains(set: PacketSet, packet: Packet): boolean {
    return this.and(this.only(packet), set) !== this.nothing;
  }

  #box(packet: Packet): Box {
    return Object.fromEntries(
      DIMENSIONS.map((dimension) => [dimension, [exactly(this.valueIn(packet, dimension))]]),
    );
  }

  valueIn(packet: Packet, dimension: Dimension): Value {
    switch (dimension) {
      case 'hook':
        return HOOKS.indexOf(packet.hook);
      case 'family':
        return packet.family === 'ipv4' ? 0 : 1;
      case 'state':
        return STATES.indexOf(packet.state);
      case 'in':
      case 'out':
        return this.interfaceNumber(packet[dimension]);
      case 'reversePath':
        return packet.reversePath ? 1 : 0;
      case 'originalDestination':
        return packet.originalDestination ?? packet.destination;
      case 'originalPort':
        return packet.originalPort ?? Math.max(packet.port, 0);
      default:
        return packet[dimension];
    }
  }

  interfaceName(number: number): string {
    return [...this.#interfaces.keys()][number] ?? OTHER_INTERFACE;
  }

  /** One packet of a set, as ordinary as the set has them; undefined where the set is empty. */
  witness(set: PacketSet): Packet | undefined {
    if (set === this.nothing) return undefined;
    const values = new Map<Dimension, Value>();
    let node = set;
    for (let dimension = 0; dimension < LEAF; dimension += 1) {
      const name = DIMENSIONS[dimension];
      if (name === undefined) break;
      const wishes = this.#ordinary(name, values);
      const value = node.dimension === dimension ? this.#choose(node, wishes) : wishes[0];
      if (value === undefined) throw new Error(`no value for ${name}`);
      values.set(name, value);
      if (node.dimension === dimension) node = branchAt(node, value) ?? this.nothing;
    }
    return this.#packet(values);
  }

  /** The first wish that is in the set; else the lower end of its first branch, that of no interface last. */
  #choose(node: PacketSet, wishes: readonly Value[]): Value | undefined {
    const wished = wishes.find((value) => branchAt(node, value) !== this.nothing);
    if (wished !== undefined) return wished;
    const index = node.branches.findIndex((branch) => branch !== this.nothing);
    const start = node.starts[index];
    return start === BELOW_ALL ? minimum(node.dimension) : start;
  }

  #ordinary(name: Dimension, so: ReadonlyMap<Dimension, Value>): readonly Value[] {
    const address = so.get('family') === 0 ? 0x0a00_0001 : 0xfd00n << 112n;
    switch (name) {
      case 'hook':
        return [HOOKS.indexOf('forward')];
      case 'family':
      case 'state':
        return [0];
      case 'in':
        return so.get('hook') === HOOKS.indexOf('output') ? [0] : [1];
      case 'out':
        return so.get('hook') === HOOKS.indexOf('input') ? [0] : [1];
      case 'source':
      case 'destination':
        return [address];
      case 'protocol':
        return [TCP];
      case 'port':
        return [9, ABSENT];
      case 'hopLimit':
        return [64];
      case 'ether':
        return [ABSENT];
      case 'reversePath':
        return [1];
      case 'quarantine':
        return [0];
      case 'originalDestination':
        return [so.get('destination') ?? address];
      case 'originalPort': {
        const port = Number(so.get('port') ?? 0);
        return [Math.max(port, 0)];
      }
      default:
        return name satisfies never;
    }
  }

  #packet(values: ReadonlyMap<Dimension, Value>): Packet {
    const number = (name: Dimension) => Number(values.get(name) ?? 0);
    const name = (dimension: Dimension) => this.interfaceName(number(dimension));
    return {
      hook: HOOKS[number('hook')] ?? 'forward',
      family: number('family') === 0 ? 'ipv4' : 'ipv6',
      state: STATES[number('state')] ?? 'new',
      in: name('in'),
      out: name('out'),
      source: values.get('source') ?? 0,
      destination: values.get('destination') ?? 0,
      protocol: number('protocol'),
      port: number('port'),
      hopLimit: number('hopLimit'),
      ether: number('ether'),
      reversePath: number('reversePath') === 1,
      quarantine: number('quarantine'),
      originalDestination: values.get('originalDestination') ?? 0,
      originalPort: number('originalPort'),
    };
  }
}
