import { setTimeout as wait } from 'node:timers/promises';
import { SluiceError } from '../../core/errors.ts';
import type { Completeness, Trace } from '../../core/history.ts';
import { type Bytes, type Duration, mebibytes, minutes } from '../../core/units.ts';
import { Pace, Stopped } from './pace.ts';

/** Each holds a copy of the tail, and what it has found so far; the others wait for their turn. */
const AT_A_TIME = 2;
/** Somebody waits for an answer, nobody for filing: it gets the longer slices. */
const SLICE_MILLISECONDS = 50;
/** Where filing is behind, an answer lets it go on for so long before its next slice, and looks so often. */
const PAUSE_MILLISECONDS = 200;
const LOOK_MILLISECONDS = 5;
/** Over a million buckets, which is more than anybody can look at. */
const MOST_BYTES = mebibytes(128);
const MOST_TIME = minutes(5);
/** Of a string beside its characters, or of an object of a few numbers. */
const OBJECT_BYTES = 64;

export interface AnswersOptions {
  readonly signal: AbortSignal;
  /** Samples wait to be filed, and can be. */
  readonly behind: () => boolean;
  readonly mostBytes?: Bytes;
  readonly mostTime?: Duration;
}

/**
 * Answers that are made piece by piece. None of them takes more memory or time than a gateway can spare, nor do many at
 * once, and filing, which keeps the samples, goes on in between where it is behind. What takes one slice, as a chart of
 * a few points does, waits for nothing.
 */
export class Answers {
  readonly #options: AnswersOptions;
  #working = 0;
  /** In the order in which they came; the link bounds how many there are. */
  readonly #line: (() => void)[] = [];

  constructor(options: AnswersOptions) {
    this.#options = options;
  }

  /** Throws USAGE where the answer would be too large, and Stopped where the thread is to end. */
  async collect<T>(items: () => Iterable<T>, sizeOf: (item: T) => number): Promise<T[]> {
    await this.#turn();
    try {
      return await this.#collect(items, sizeOf);
    } finally {
      const next = this.#line.shift();
      if (next === undefined) this.#working--;
      else next();
    }
  }

  async #turn(): Promise<void> {
    if (this.#working >= AT_A_TIME) await new Promise<void>((resolve) => this.#line.push(resolve));
    else this.#working++;
  }

  async #collect<T>(items: () => Iterable<T>, sizeOf: (item: T) => number): Promise<T[]> {
    const { signal, mostBytes = MOST_BYTES, mostTime = MOST_TIME } = this.#options;
    const begun = performance.now();
    const pace = new Pace(1, signal, SLICE_MILLISECONDS);
    const all: T[] = [];
    let size = 0;
    for (const item of items()) {
      all.push(item);
      size += sizeOf(item);
      if (size > mostBytes) throw tooMuch('is too large');
      if (!pace.due) continue;
      if (performance.now() - begun > mostTime) throw tooMuch('takes too long');
      await this.#letFilingGoFirst();
      await pace.rest();
    }
    return all;
  }

  async #letFilingGoFirst(): Promise<void> {
    const { signal, behind } = this.#options;
    const until = performance.now() + PAUSE_MILLISECONDS;
    while (!signal.aborted && behind() && performance.now() < until) await wait(LOOK_MILLISECONDS);
    if (signal.aborted) throw new Stopped();
  }
}

function tooMuch(how: string): SluiceError {
  return new SluiceError('USAGE', `the answer to this question ${how}`, {
    remedy: 'ask for fewer points, a shorter time or a smaller width at once',
  });
}

export function sizeOfTrace(trace: Trace): number {
  let size = OBJECT_BYTES;
  for (const buffer of buffersOfTrace(trace)) size += buffer.byteLength;
  for (const [first, last] of trace.texts.values()) size += 2 * (OBJECT_BYTES + first.length + last.length);
  return size;
}

export function sizeOfGaps({ gaps }: Completeness): number {
  return OBJECT_BYTES * (1 + 2 * gaps.length);
}

/** For `postMessage`: they pass to whoever asked, and are not copied. */
export function buffersOfTrace(trace: Trace): ArrayBuffer[] {
  const { starts, counts, goods, bads, mins, maxes, means, deviations } = trace;
  const { firsts, firstTimes, lasts, lastTimes, changes } = trace;
  const columns = [starts, counts, goods, bads, mins, maxes, means, deviations];
  columns.push(firsts, firstTimes, lasts, lastTimes, changes);
  return columns.map(({ buffer }) => buffer);
}
