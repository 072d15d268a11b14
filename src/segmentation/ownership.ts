import { exactly, type Interval, type Value } from './boxes.ts';
import { type BoundHost, linkLocalOf } from './port-guard.ts';

/** Above every IPv4 address, and above every other: where the numbers of what hosts own begin. */
const FIRST = 2 ** 32;
const FIRST_WIDE = 2n ** 128n;

/**
 * What hosts own has numbers one after the other here, host by host. "Whatever is not another's" is then two ranges in
 * place of one hole for each of the others, and diagrams grow with the hosts and not with their square. Every address
 * still has one number, and none has that of another: what is equal here is equal.
 */
export class Ownership {
  readonly #numbers = new Map<Value, Interval>();
  readonly #values = new Map<Value, Value>();

  constructor(hosts: readonly BoundHost[]) {
    // Those of one kind in a row, as it is them that are compared.
    const narrow = hosts.flatMap(({ v4 }) => v4.map(Number));
    const macs = hosts.map(({ mac }) => macValue(mac));
    const wide = [...macs, ...hosts.flatMap((host) => [...host.v6, linkLocalOf(host.mac)])];
    for (const [i, value] of narrow.entries()) this.#add(value, FIRST + i);
    for (const [i, value] of wide.entries()) this.#add(value, FIRST_WIDE + BigInt(i));
  }

  #add(value: Value, number: Value): void {
    if (this.#numbers.has(value)) return;
    this.#numbers.set(value, exactly(number));
    this.#values.set(number, value);
  }

  /** The same value gives the same object, which makes the grouping of keys fast. */
  numbered(interval: Interval): Interval[] {
    const { low, high } = interval;
    if (low === high) return [this.#numbers.get(low) ?? interval];
    const inside = [...this.#numbers].filter(
      ([value]) => typeof value === typeof low && value >= low && value <= high,
    );
    // What a host owns within the range is also left in it: a number that no frame has.
    return [interval, ...inside.map(([, number]) => number)];
  }

  value(number: Value): Value {
    return this.#values.get(number) ?? number;
  }
}

export const macValue = (text: string): bigint => BigInt(`0x${text.replaceAll(':', '')}`);
