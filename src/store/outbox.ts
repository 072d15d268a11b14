import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { type Batch, buffersOf } from '../core/batch.ts';
import { SluiceError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { Consumer, Outbox, OutboxState } from '../core/outbox.ts';
import type { SampleLog } from '../core/sample-log.ts';
import { type Bytes, type Duration, milliseconds, minutes } from '../core/units.ts';
import { type Outage, joinedOutage, spanOf } from '../telemetry/sample-log.ts';
import { StoredConsumer } from './consumer.ts';
import { Link, ThreadGone } from './link.ts';
import { MIN_LIMIT_BYTES, type Reply, type Request, type WorkerOptions, sampleLogBytes } from './protocol.ts';
import type { RecordedPoint } from './series.ts';

export interface OutboxOptions {
  /** `telemetry.db` below `gateway.data`; `telemetry.seq` (small) and `telemetry.spare` (room for a full disk) beside it. */
  readonly file: string;
  /**
   * What waits to go up, write-ahead log and spare room together; the oldest goes first, and is told as a gap. At least
   * 1 MiB.
   */
  readonly limit: Bytes;
  /** What the sample log may take beside it until it is filed; half of `limit`, 64 MiB at most, where it is left out. */
  readonly sampleLog?: Bytes;
  /** The database is made smaller when it is at least so large and mostly free; 64 MiB where it is left out. */
  readonly shrinkFrom?: Bytes;
  /** By index, as `Batch.points` counts. */
  readonly points: readonly RecordedPoint[];
  readonly log: Log;
  /** A commit met a full disk and will be tried again: whoever can give something up should do so now. */
  readonly onFull?: () => void;
  /** Longest wait of a sample for its commit; each commit costs about 13 KiB of flash. */
  readonly commitEvery?: Duration;
  /** Where no sample is recorded for so long, a row of the sample log says that the gateway runs; a minute where it is left out. */
  readonly signEvery?: Duration;
}

const COMMIT_EVERY = milliseconds(250);
/** Of a gateway that is killed while everything is silent, so much may be told as down. It costs 20 MB of flash a day. */
const SIGN_EVERY = minutes(1);
/** What the worker allocates lives for one commit; a larger nursery costs memory and saves nothing. */
const YOUNG_GENERATION_MB = 12;
const SHRINK_FROM_BYTES = 67_108_864;
/** Samples between two threads: the store may hang for a minute and a half at 10,000 samples/s (31 bytes each). */
const MAX_UNSETTLED_SAMPLES = 1_000_000;
const MAX_UNSETTLED_EVENTS = 10_000;
/** Reasons of gaps. */
const SLOW = 'store too slow';
const GONE = 'store failed';

/**
 * Opens the outbox in its own thread. Throws STORE_FAILED where the file cannot be used and a person has to act; a
 * damaged file is set aside, logged, and a new one opened, whose numbers go on above all that were ever sent.
 */
export async function openOutbox(options: OutboxOptions): Promise<Outbox & SampleLog> {
  const { file, points, log, commitEvery = COMMIT_EVERY, signEvery = SIGN_EVERY } = options;
  const limit = Math.max(options.limit, MIN_LIMIT_BYTES);
  const { sampleLog = sampleLogBytes(limit), shrinkFrom = SHRINK_FROM_BYTES } = options;
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const workerData: WorkerOptions = {
    file,
    limit,
    sampleLog,
    shrinkFrom,
    points: points.map(({ device, point, unit, every, recorded }) => ({
      device,
      point,
      unit,
      every,
      recorded,
    })),
    commitEvery,
    signEvery,
  };
  const spawn = (): Worker =>
    new Worker(new URL('./worker.ts', import.meta.url), {
      workerData,
      name: 'outbox',
      execArgv: [],
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
    });
  const link = new Link<Request, Reply>({ name: 'outbox', spawn, log });
  await link.open();
  return new StoredOutbox(link, options.onFull);
}

class StoredOutbox implements Outbox, SampleLog {
  readonly #link: Link<Request, Reply>;
  readonly #consumers = new Map<string, StoredConsumer>();
  readonly #notes = new Map<string, string>();
  #unsettledSamples = 0;
  #unsettledEvents = 0;
  /** Samples given up on this side, of which the store's thread has not heard yet. */
  #lost = 0;
  /** The same of samples for the sample log. */
  #unrecorded: Outage | undefined;
  #allowed: Bytes | undefined;
  #tellingLost = false;

  constructor(link: Link<Request, Reply>, onFull: () => void = () => {}) {
    this.#link = link;
    link.onNews(({ type }) => {
      if (type === 'full') onFull();
      if (type !== 'grown') return;
      for (const consumer of this.#consumers.values()) consumer.grown();
    });
    link.onAgain(() => {
      for (const consumer of this.#consumers.values()) this.#register(consumer).catch(() => {}); // that thread is gone too; the next one is asked again
      if (this.#allowed !== undefined) this.allow(this.#allowed);
      void this.#tellLost(GONE);
    });
  }

  async append(batch: Batch): Promise<void> {
    const { count } = batch;
    if (this.#unsettledSamples + count > MAX_UNSETTLED_SAMPLES) {
      this.#lost += count;
      void this.#tellLost(SLOW);
      throw tooSlow(`${count} samples`);
    }
    this.#unsettledSamples += count;
    try {
      await this.#link.ask((id) => ({ type: 'append', id, batch }), buffersOf(batch));
    } catch (error) {
      if (error instanceof ThreadGone) this.#lost += count; // it is told by the thread that follows
      throw error;
    } finally {
      this.#unsettledSamples -= count;
    }
  }

  async record(samples: Batch): Promise<void> {
    const { count } = samples;
    const span = spanOf(samples); // while the columns are here
    if (this.#unsettledSamples + count > MAX_UNSETTLED_SAMPLES) {
      this.#notRecorded({ ...span, samples: count, reason: SLOW });
      void this.#tellLost(SLOW);
      throw tooSlow(`${count} samples`);
    }
    this.#unsettledSamples += count;
    try {
      await this.#link.ask((id) => ({ type: 'record', id, batch: samples }), buffersOf(samples));
    } catch (error) {
      if (error instanceof ThreadGone) this.#notRecorded({ ...span, samples: count, reason: GONE });
      throw error;
    } finally {
      this.#unsettledSamples -= count;
    }
  }

  filed(row: number): void {
    this.#link.post({ type: 'filed', row });
  }

  allow(outbox: Bytes): void {
    this.#allowed = outbox;
    this.#link.post({ type: 'allow', limit: outbox });
  }

  async appendEvent(topic: string, payload: string): Promise<void> {
    if (/\s/.test(topic) || payload.includes('\n'))
      throw new RangeError(`an event is one line, and its topic one word: ${JSON.stringify(topic)}`);
    if (this.#unsettledEvents >= MAX_UNSETTLED_EVENTS) throw tooSlow(`an event on ${topic}`);
    this.#unsettledEvents++;
    try {
      await this.#link.ask((id) => ({ type: 'event', id, topic, payload }));
    } finally {
      this.#unsettledEvents--;
    }
  }

  async consumer(name: string, note?: string): Promise<Consumer> {
    const consumer = this.#consumers.get(name) ?? new StoredConsumer(name, this.#link);
    this.#consumers.set(name, consumer);
    if (note !== undefined) this.#notes.set(name, note);
    await this.#register(consumer);
    return consumer;
  }

  async consumers(): Promise<readonly { name: string; note: string; since: number }[]> {
    const reply = await this.#link.ask((id) => ({ type: 'consumers', id }));
    return reply.type === 'consumers' ? reply.consumers : [];
  }

  async forget(name: string): Promise<void> {
    this.#consumers.delete(name);
    this.#notes.delete(name);
    await this.#link.ask((id) => ({ type: 'forget', id, name }));
  }

  async state(): Promise<OutboxState> {
    const reply = await this.#link.ask((id) => ({ type: 'state', id }));
    if (reply.type !== 'state') throw new TypeError(`the store answered ${reply.type} where state was asked`);
    return reply.state;
  }

  async close(): Promise<void> {
    for (const consumer of this.#consumers.values()) consumer.flush();
    await this.#link.close();
  }

  async #register(consumer: StoredConsumer): Promise<void> {
    const { name } = consumer;
    const note = this.#notes.get(name);
    const reply = await this.#link.ask((id) => ({ type: 'consumer', id, name, note }));
    if (reply.type === 'unread') consumer.update(reply.unread);
  }

  /** One message at a time: a store that hangs for a day is not buried under what it missed. */
  async #tellLost(reason: string): Promise<void> {
    if (this.#tellingLost) return;
    this.#tellingLost = true;
    while (this.#lost > 0 || this.#unrecorded !== undefined) {
      const [samples, outage] = [this.#lost, this.#unrecorded];
      this.#lost = 0;
      this.#unrecorded = undefined;
      try {
        await this.#link.ask((id) => ({ type: 'lost', id, samples, outage, reason }));
      } catch {
        this.#lost += samples; // the thread that follows will hear of them
        if (outage !== undefined) this.#notRecorded(outage);
        break;
      }
    }
    this.#tellingLost = false;
  }

  #notRecorded(outage: Outage): void {
    this.#unrecorded = this.#unrecorded === undefined ? outage : joinedOutage(this.#unrecorded, outage);
  }
}

function tooSlow(what: string): SluiceError {
  return new SluiceError(
    'OUTBOX_FULL',
    `${what} were given up: the disk of the outbox is too slow or hangs`,
    {
      remedy: 'look at the disk of gateway.data; writing resumes by itself',
    },
  );
}
