import type { Batch } from '../../core/batch.ts';
import type { Clock } from '../../core/clock.ts';
import { SluiceError } from '../../core/errors.ts';
import { type Duration, minutes } from '../../core/units.ts';

/** Each holds what the tail had when it was opened, which may be some tens of megabytes. */
const MAX_STREAMS = 8;
/** A reader that writes to a slow disk or a slow client takes seconds for a batch, not minutes. */
const IDLE = minutes(2);

interface Stream {
  readonly batches: Generator<Batch, void, void>;
  askedAt: Duration;
}

/** Streams of samples that are being read. Those that nobody goes on with are given up. */
export class Streams {
  readonly #clock: Pick<Clock, 'elapsed'>;
  readonly #open = new Map<number, Stream>();

  constructor(clock: Pick<Clock, 'elapsed'>) {
    this.#clock = clock;
  }

  get size(): number {
    return this.#open.size;
  }

  /** Throws STORE_FAILED where too many are being read. `batches` is asked for only where there is a place. */
  add(number: number, batches: () => Generator<Batch, void, void>): void {
    this.forgetIdle();
    if (this.#open.size >= MAX_STREAMS)
      throw new SluiceError('STORE_FAILED', `${MAX_STREAMS} streams of the history are being read already`, {
        remedy: 'wait until an export has ended, or read them one after the other',
      });
    this.#open.set(number, { batches: batches(), askedAt: this.#clock.elapsed() });
  }

  /** Undefined at the end. Throws STORE_FAILED where the stream was given up: its end would be taken for that of the samples. */
  next(number: number): Batch | undefined {
    const stream = this.#open.get(number);
    if (stream === undefined)
      throw new SluiceError(
        'STORE_FAILED',
        'a stream of the history that nobody read for long was given up',
        {
          remedy: 'ask again from the last sample on',
        },
      );
    const { done, value } = stream.batches.next();
    stream.askedAt = this.#clock.elapsed();
    if (done !== true) return value;
    this.#open.delete(number);
    return undefined;
  }

  leave(number: number): void {
    this.#open.get(number)?.batches.return();
    this.#open.delete(number);
  }

  forgetIdle(): void {
    const now = this.#clock.elapsed();
    for (const [number, { askedAt }] of this.#open) if (now - askedAt > IDLE) this.leave(number);
  }
}
