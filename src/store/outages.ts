import { OUTAGE, type Outage, joinedOutage } from '../telemetry/sample-log.ts';
import { type LogRow, logRow } from './log-table.ts';

/** Outages that wait for a commit; beyond it the oldest are joined, which tells more than was given up, never less. */
const MAX_OUTAGES = 64;
/** An outage that goes on while commits succeed is told again after so long, then after twice that, … */
const FIRST_TELL_MILLISECONDS = 60_000;
const LAST_TELL_MILLISECONDS = 3_600_000;

/** What could not be recorded, until the sample log remembers it. */
export class Outages {
  #waiting: Outage[] = [];
  #due = Number.POSITIVE_INFINITY;
  #wait = FIRST_TELL_MILLISECONDS;

  /** `now` is of a clock that never steps. */
  add(outage: Outage, now: number): void {
    if (outage.samples === 0) return;
    const last = this.#waiting.at(-1);
    if (last?.reason === outage.reason) this.#waiting[this.#waiting.length - 1] = joinedOutage(last, outage);
    else this.#waiting.push(outage);
    const [first, second] = this.#waiting;
    if (this.#waiting.length > MAX_OUTAGES && first !== undefined && second !== undefined)
      this.#waiting.splice(0, 2, joinedOutage(first, second));
    if (this.#due === Number.POSITIVE_INFINITY) this.#due = now + this.#wait;
  }

  /**
   * Rows for the commit that comes: all outages where samples are in it, because then they are over, or at the end;
   * otherwise now and then, so that a history which is away for a year costs a row an hour.
   */
  rows(over: boolean, now: number, time: number): LogRow[] {
    if (!over && now < this.#due) return [];
    return this.#waiting.map((outage) => logRow(OUTAGE, JSON.stringify(outage), { time, samples: 0 }));
  }

  /** Until one is due that no commit of samples takes along. */
  dueIn(now: number): number {
    return this.#due - now;
  }

  get empty(): boolean {
    return this.#waiting.length === 0;
  }

  /** The rows are on disk. */
  written(over: boolean): void {
    this.#wait = over ? FIRST_TELL_MILLISECONDS : Math.min(this.#wait * 2, LAST_TELL_MILLISECONDS);
    this.#waiting = [];
    this.#due = Number.POSITIVE_INFINITY;
  }
}
