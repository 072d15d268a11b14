import type { Lane } from '../core/outbox.ts';
import { type Range, above, atMost, withRange } from './ranges.ts';

/** Outages that a consumer may have open at a time; beyond it the closest are joined and some rows sent twice. */
const MAX_RANGES = 64;

/** What of a consumer is on disk. */
export interface Place {
  /** Rows still to be delivered as history. */
  readonly ranges: readonly Range[];
  /** Everything up to this row was delivered, or is in `ranges`. */
  readonly live: number;
}

/** Rows of one lane between handed out and acknowledged, in the order in which they were handed out. */
class Flight {
  #order: number[] = [];
  #front = 0;
  #open = new Set<number>();

  add(row: number): void {
    this.#order.push(row);
    this.#open.add(row);
  }

  acknowledge(row: number): boolean {
    return this.#open.delete(row);
  }

  /** The oldest row that is not acknowledged, or undefined. */
  first(): number | undefined {
    for (;;) {
      const row = this.#order[this.#front];
      if (row === undefined) {
        this.clear();
        return undefined;
      }
      if (this.#open.has(row)) return row;
      this.#front++;
      if (this.#front > 1_024) {
        this.#order = this.#order.slice(this.#front);
        this.#front = 0;
      }
    }
  }

  clear(): void {
    this.#order = [];
    this.#front = 0;
    this.#open.clear();
  }
}

/**
 * The place of one consumer: what was handed out since `rewind` in memory, what was acknowledged on disk. Only an
 * unbroken prefix of acknowledged rows moves the durable place. No I/O.
 */
export class Cursor {
  #ranges: readonly Range[];
  #live: number;
  readonly #handed = { live: 0, history: 0 };
  readonly #flight = { live: new Flight(), history: new Flight() };

  constructor(place: Place) {
    this.#ranges = place.ranges;
    this.#live = place.live;
    this.#handed.live = place.live;
  }

  /** A new connection, when `head` is the newest row on disk. */
  rewind(head: number): void {
    this.#settle();
    this.#ranges = atMost(withRange(this.#ranges, [this.#live, head]), MAX_RANGES);
    this.#live = head;
    this.#handed.live = head;
    this.#handed.history = 0;
    this.#flight.live.clear();
    this.#flight.history.clear();
  }

  /** Where rows of the lane may be that were not handed out; `head` is the newest row on disk. */
  unread(lane: Lane, head: number): readonly Range[] {
    if (lane === 'history') return above(this.#ranges, this.#handed.history);
    return head > this.#handed.live ? [[this.#handed.live, head]] : [];
  }

  /** The caller has looked at everything of the lane up to `upto` and hands out `rows`. */
  hand(lane: Lane, rows: readonly number[], upto: number): void {
    for (const row of rows) this.#flight[lane].add(row);
    this.#handed[lane] = Math.max(this.#handed[lane], upto);
  }

  acknowledge(lane: Lane, row: number): void {
    this.#flight[lane].acknowledge(row);
  }

  /** What may be written to disk now. */
  place(): Place {
    this.#settle();
    return { ranges: this.#ranges, live: this.#live };
  }

  /** Rows that must be kept for it, now and later. */
  needs(): Range[] {
    const { ranges, live } = this.place();
    return withRange(ranges, [live, Number.POSITIVE_INFINITY]);
  }

  #settle(): void {
    const live = this.#flight.live.first();
    this.#live = live === undefined ? this.#handed.live : live - 1;
    const history = this.#flight.history.first();
    this.#ranges = above(this.#ranges, history === undefined ? this.#handed.history : history - 1);
  }
}
