import { addressText } from './addresses.ts';
import { DIMENSIONS, type Dimension, type Interval, type Value } from './boxes.ts';
import { type BaseChain, baseChainsOf, type Observes, type Outcome } from './evaluate.ts';
import { FILTER_PASSED } from './filter-block.ts';
import type { Field } from './field.ts';
import type { Chain, Listing, Rule } from './listing.ts';
import type { Statement } from './listing-rule.ts';
import type { Element, Verdict } from './listing-set.ts';
import { quarantineBits } from './match-set.ts';
import { etherText, HOOKS, type Hook, type Packet, STATES } from './packet.ts';
import type { PacketSpace } from './packet-space.ts';

/** Where a packet ended. */
export interface Fate {
  readonly outcome: Outcome;
  /** The rule that decided, behind those that led to it: `g_forward, rule 4 (handle 71) > c_a_b, rule 1 (handle 17)`. */
  readonly rule: string;
}

type Condition = Extract<Statement, { kind: 'match' | 'vmap' }>;

/**
 * Leads one packet through a listing, rule by rule and element by element. It shares nothing with the evaluation of
 * sets but the listing, so that each checks the other.
 */
export class Follower {
  readonly #space: PacketSpace;
  readonly #listing: Listing;
  readonly #observes: Observes;
  readonly #ways: ReadonlyMap<Hook, readonly BaseChain[]>;

  constructor(space: PacketSpace, listing: Listing, observes: Observes = () => false) {
    this.#space = space;
    this.#listing = listing;
    this.#observes = observes;
    this.#ways = new Map(HOOKS.map((hook) => [hook, baseChainsOf(listing, hook)]));
  }

  /** A drop is final; an accept and an objection are those of the last base chain that has one to give. */
  follow(packet: Packet): Fate {
    const values = new Map(DIMENSIONS.map((name) => [name, this.#space.valueIn(packet, name)]));
    let last: Fate = { outcome: 'accept', rule: 'no chain of the table sees it' };
    for (const chain of this.#ways.get(packet.hook) ?? []) {
      const { policy } = chain.base;
      const fate = this.#chain(chain, values, '') ?? {
        outcome: policy,
        rule: `${chain.name}, policy ${policy}`,
      };
      if (fate.outcome === 'drop') return fate;
      if (last.outcome !== 'would deny' || fate.outcome === 'would deny') last = fate;
    }
    return last;
  }

  /** Undefined where the packet reaches the end of the chain, or returns from it. */
  #chain(chain: Chain, packet: ReadonlyMap<Dimension, Value>, path: string): Fate | undefined {
    for (const rule of chain.rules) {
      const verdict = this.#verdict(rule, packet);
      if (verdict === undefined) continue;
      const here = `${path}${rule.place}${verdict.element}`;
      const { what } = verdict;
      if (what.kind === 'accept')
        return { outcome: this.#observes(rule) ? 'would deny' : 'accept', rule: here };
      if (what.kind === 'drop') return { outcome: 'drop', rule: here };
      if (what.kind === 'return') return undefined;
      if (what.kind === 'continue') continue;
      const target = this.#listing.chains.get(what.target);
      const fate = target === undefined ? undefined : this.#chain(target, packet, `${here} > `);
      if (fate !== undefined || what.kind === 'goto') return fate;
    }
    return undefined;
  }

  #verdict(
    rule: Rule,
    packet: ReadonlyMap<Dimension, Value>,
  ): { what: Verdict; element: string } | undefined {
    for (const statement of rule.statements) {
      switch (statement.kind) {
        case 'match':
          if (!this.#matches(statement, packet)) return undefined;
          break;
        case 'vmap': {
          const element = hasAll(statement.fields, packet) ? this.#find(statement, packet) : undefined;
          if (element?.verdict === undefined) return undefined;
          return {
            what: element.verdict,
            element: `, element ${this.#elementText(element, statement.fields)}`,
          };
        }
        case 'filter':
          if (!hasAll(statement.fields, packet)) return { what: { kind: 'drop' }, element: '' };
          return { what: { kind: 'goto', target: FILTER_PASSED }, element: ', as a read' };
        case 'never':
          return undefined;
        case 'verdict':
          return { what: statement.verdict, element: '' };
        default: // counts, logs and limits decide nothing that can be proven
      }
    }
    return undefined;
  }

  #matches(statement: Extract<Statement, { kind: 'match' }>, packet: ReadonlyMap<Dimension, Value>): boolean {
    const { fields, how } = statement;
    if (!hasAll(fields, packet)) return false;
    const bits = quarantineBits(statement);
    if (bits !== undefined) {
      return ((Number(packet.get('quarantine')) & bits) !== 0) === (how === 'inside');
    }
    if (how === 'inside') return this.#find(statement, packet) !== undefined;
    if (how === 'outside') return this.#find(statement, packet) === undefined;
    const limit = this.#elements(statement)[0]?.key[0]?.low;
    const value = valueOf(packet, fields[0]);
    if (limit === undefined || value === undefined) return false;
    return how === 'below' ? value < limit : value > limit;
  }

  #elements({ values }: Condition): readonly Element[] {
    return 'set' in values ? (this.#listing.sets.get(values.set)?.elements ?? []) : values.inline.elements;
  }

  #find(statement: Condition, packet: ReadonlyMap<Dimension, Value>): Element | undefined {
    const wanted = statement.fields.map((field) => valueOf(packet, field));
    return this.#elements(statement).find(({ key }) => {
      for (let i = 0; i < key.length; i += 1) {
        const [interval, value] = [key[i], wanted[i]];
        if (interval === undefined || value === undefined || value < interval.low || value > interval.high)
          return false;
      }
      return true;
    });
  }

  #elementText({ key }: Element, fields: readonly Field[]): string {
    return key.map((interval, i) => this.#intervalText(fields[i]?.dimension, interval)).join(' . ');
  }

  #intervalText(dimension: Dimension | undefined, { low, high }: Interval): string {
    return low === high
      ? this.#valueText(dimension, low)
      : `${this.#valueText(dimension, low)}-${this.#valueText(dimension, high)}`;
  }

  #valueText(dimension: Dimension | undefined, value: Value): string {
    switch (dimension) {
      case 'source':
      case 'destination':
      case 'originalDestination':
        return addressText(value);
      case 'in':
      case 'out':
        return this.#space.interfaceName(Number(value));
      case 'state':
        return STATES[Number(value)] ?? '';
      case 'family':
        return value === 0 ? 'ipv4' : 'ipv6';
      case 'ether':
        return etherText(Number(value));
      default:
        return String(value);
    }
  }
}

function valueOf(packet: ReadonlyMap<Dimension, Value>, field: Field | undefined): Value | undefined {
  return field === undefined ? undefined : packet.get(field.dimension);
}

/** A packet without what a rule looks at does not match it, whatever the rule says. */
function hasAll(fields: readonly Field[], packet: ReadonlyMap<Dimension, Value>): boolean {
  return fields.every(({ guard }) =>
    DIMENSIONS.every((name) => {
      const value = packet.get(name) ?? 0;
      return guard[name]?.some(({ low, high }) => low <= value && value <= high) ?? true;
    }),
  );
}
