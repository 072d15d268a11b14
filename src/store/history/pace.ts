import { setImmediate as turn, setTimeout as wait } from 'node:timers/promises';

/** Questions wait no longer than this for work that can be interrupted. */
const SLICE_MILLISECONDS = 20;

/** Work is given up half-way: the thread is to end. */
export class Stopped extends Error {
  constructor() {
    super('stopped');
    this.name = 'Stopped';
  }
}

/** Cuts long work into slices, between which the thread answers questions. */
export class Pace {
  readonly #share: number;
  readonly #signal: AbortSignal;
  readonly #slice: number;
  #since = performance.now();

  /** `share` of the time is worked at most, the rest is left to others. */
  constructor(share: number, signal: AbortSignal, slice = SLICE_MILLISECONDS) {
    this.#share = share;
    this.#signal = signal;
    this.#slice = slice;
  }

  /** It is time to call `rest`. */
  get due(): boolean {
    return performance.now() - this.#since >= this.#slice;
  }

  /** Throws Stopped where the work is not to go on. */
  async rest(): Promise<void> {
    if (this.#signal.aborted) throw new Stopped();
    const worked = performance.now() - this.#since;
    if (this.#share >= 1) await turn();
    else await wait(worked / this.#share - worked);
    if (this.#signal.aborted) throw new Stopped();
    this.#since = performance.now();
  }
}
