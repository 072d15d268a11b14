import type { Lane } from '../core/outbox.ts';
import { type Range, above, atMost, withRange } from './ranges.ts';

/** Outages that a consumer may have open at a time; beyond it the closest are joined and some rows sent twice. */
const MAX_RANGES = 64;

/** What of a consumer is on disk. */
export interface Place {
  /** Telemetry rows still to be delivered as history. */
  readonly history: readonly Range[];
  /** Rows of events and gaps still to be delivered before anything live. */
  readonly events: readonly Range[];
  /** Everything up to this row was delivered, or is in one of the two. */
  readonly live: number;
}

/** The lane `live` has two: events that had to wait, then what is new. */
export type Queue = Lane | 'events';

/** Rows that must be kept, by what is in them. */
export interface Needs {
  readonly telemetry: Range[];
  readonly events: Range[];
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
  #history: readonly Range[];
  #events: readonly Range[];
  #live: number;
  readonly #handed: Record<Queue, number> = { events: 0, live: 0, history: 0 };
  readonly #flight = { events: new Flight(), live: new Flight(), history: new Flight() };

  constructor(place: Place) {
    this.#history = place.history;
    this.#events = place.events;
    this.#live = place.live;
    this.#handed.live = place.live;
  }

  /** A new connection, when `head` is the newest row on disk. */
  rewind(head: number): void {
    this.#settle();
    const waiting: Range = [this.#live, head];
    this.#history = atMost(withRange(this.#history, waiting), MAX_RANGES);
    this.#events = atMost(withRange(this.#events, waiting), MAX_RANGES);
    this.#live = head;
    this.#handed.live = head;
    this.#handed.history = 0;
    this.#handed.events = 0;
    for (const flight of Object.values(this.#flight)) flight.clear();
  }

  /** Where rows of the queue may be that were not handed out; `head` is the newest row on disk. */
  unread(queue: Queue, head: number): readonly Range[] {
    switch (queue) {
      case 'history':
        return above(this.#history, this.#handed.history);
      case 'events':
        return above(this.#events, this.#handed.events);
      case 'live':
        return head > this.#handed.live ? [[this.#handed.live, head]] : [];
      default:
        return queue satisfies never;
    }
  }

  /** The caller has looked at everything of the queue up to `upto` and hands out `rows`. */
  hand(queue: Queue, rows: readonly number[], upto: number): void {
    for (const row of rows) this.#flight[queue].add(row);
    this.#handed[queue] = Math.max(this.#handed[queue], upto);
  }

  acknowledge(lane: Lane, row: number): void {
    if (lane === 'live' && this.#flight.events.acknowledge(row)) return;
    this.#flight[lane].acknowledge(row);
  }

  /** What may be written to disk now. */
  place(): Place {
    this.#settle();
    return { history: this.#history, events: this.#events, live: this.#live };
  }

  /** Rows that must be kept for it, now and later. */
  needs(): Needs {
    const { history, events, live } = this.place();
    const newer: Range = [live, Number.POSITIVE_INFINITY];
    return { telemetry: withRange(history, newer), events: withRange(events, newer) };
  }

  #settle(): void {
    this.#live = this.#done('live');
    this.#history = above(this.#history, this.#done('history'));
    this.#events = above(this.#events, this.#done('events'));
  }

  /** Everything of the queue up to here was handed out and acknowledged. */
  #done(queue: Queue): number {
    const first = this.#flight[queue].first();
    return first === undefined ? this.#handed[queue] : first - 1;
  }
}
