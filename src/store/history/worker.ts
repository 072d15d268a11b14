import { setTimeout as wait } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { buffersOf } from '../../core/batch.ts';
import { systemClock } from '../../core/clock.ts';
import { SluiceError, errorText } from '../../core/errors.ts';
import type { PointName } from '../../core/point.ts';
import { isTrouble } from '../open.ts';
import { type ThreadReply, failureOf, threadLog } from '../thread.ts';
import { Answers, buffersOfTrace, sizeOfGaps, sizeOfTrace } from './answers.ts';
import { Historian, type HistorianOptions } from './historian.ts';
import type { Reply, Request, WorkerOptions } from './protocol.ts';
import { Streams } from './streams.ts';
import { causeOf } from './trouble.ts';

// The historian's thread: follows the sample log, files, rolls up, sheds; answers questions in between.

function tell(reply: Reply | ThreadReply, buffers: ArrayBuffer[] = []): void {
  parentPort?.postMessage(reply, buffers);
}

type Question = Exclude<Request, { type: 'shed' | 'leave' | 'close' }>;

/** A disk that cannot be written is tried again so often. */
const OPEN_EVERY_MILLISECONDS = 1_000;
const LOOK_FOR_IDLE_MILLISECONDS = 10_000;

class Desk {
  readonly #options: HistorianOptions;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  #historian: Historian | undefined;
  #why = '';
  readonly #streams: Streams;
  readonly #answers: Answers;
  readonly #idle: NodeJS.Timeout;

  /** Throws STORE_FAILED where a person has to act. */
  constructor(options: HistorianOptions) {
    this.#options = options;
    this.#streams = new Streams(options.clock);
    const behind = (): boolean => this.#historian?.isBehind ?? false;
    this.#answers = new Answers({ signal: this.#stop.signal, behind });
    this.#idle = setInterval(() => this.#streams.forgetIdle(), LOOK_FOR_IDLE_MILLISECONDS).unref();
    this.#open();
    // What it throws is a bug: the thread ends, and the gateway starts another one.
    this.#running = this.#run();
  }

  async obey(request: Request): Promise<void> {
    switch (request.type) {
      case 'shed':
        return this.#historian?.shed();
      case 'leave':
        return this.#streams.leave(request.stream);
      case 'close':
        return this.#close(request.id);
      default:
        return this.#answer(request);
    }
  }

  /** The book may find no room on a full disk; recording goes on in the log meanwhile. */
  #open(): void {
    const { log } = this.#options;
    try {
      this.#historian = new Historian(this.#options);
    } catch (error) {
      const cause = causeOf(error);
      if (cause instanceof SluiceError || !isTrouble(cause)) throw cause;
      if (this.#why === '')
        log.error('the history cannot be opened and is tried again', { error: errorText(error) });
      this.#why = errorText(error);
    }
  }

  async #run(): Promise<void> {
    while (this.#historian === undefined) {
      await wait(OPEN_EVERY_MILLISECONDS, undefined, { signal: this.#stop.signal }).catch(() => {});
      if (this.#stop.signal.aborted) return;
      this.#open();
      if (this.#historian !== undefined) this.#options.log.info('the history is open');
    }
    await this.#historian.run();
  }

  async #answer(request: Question): Promise<void> {
    const { id, type } = request;
    try {
      await this.#ask(request);
    } catch (error) {
      tell({ type: 'failed', ids: [id], failure: failureOf(error, `the history cannot do "${type}"`) });
    }
  }

  async #ask(request: Question): Promise<void> {
    if (this.#historian === undefined) throw new SluiceError('STORE_FAILED', this.#why);
    const { reader } = this.#historian;
    const { id } = request;
    switch (request.type) {
      case 'names':
        return tell({ type: 'names', id, names: reader.names(request.points) });
      case 'history': {
        const traces = await this.#answers.collect(() => reader.traces(request.query), sizeOfTrace);
        return tell({ type: 'traces', id, traces }, traces.flatMap(buffersOfTrace));
      }
      case 'last':
        return tell({ type: 'last', id, samples: reader.last(request.points) });
      case 'samples': {
        let names: readonly PointName[] = [];
        this.#streams.add(id, () => {
          const stream = reader.samples(request.query);
          names = stream.names;
          return stream.batches;
        });
        return tell({ type: 'names', id, names });
      }
      case 'next': {
        const batch = this.#streams.next(request.stream);
        return tell({ type: 'batch', id, batch }, batch === undefined ? [] : buffersOf(batch));
      }
      case 'completeness': {
        const found = await this.#answers.collect(() => reader.gaps(request.query), sizeOfGaps);
        return tell({ type: 'completeness', id, found });
      }
      case 'state':
        return tell({ type: 'state', id, state: this.#historian.state() });
      default:
        return request satisfies never;
    }
  }

  async #close(id: number): Promise<void> {
    this.#stop.abort();
    clearInterval(this.#idle);
    this.#historian?.stop();
    await this.#running;
    this.#historian?.close();
    tell({ type: 'done', id });
    parentPort?.close();
  }
}

function start(options: WorkerOptions): void {
  let desk: Desk;
  try {
    desk = new Desk({
      ...options,
      clock: systemClock,
      log: threadLog(tell),
      filed: (row) => tell({ type: 'filed', row }),
      allow: (outbox) => tell({ type: 'allow', outbox }),
      onEvent: (kind, subject, facts) => tell({ type: 'event', kind, subject, facts }),
    });
  } catch (error) {
    const failure = failureOf(error, `the history in ${options.folder} cannot be opened`);
    return tell({ type: 'cannot start', failure });
  }
  parentPort?.on('message', (request: Request) => void desk.obey(request));
  return tell({ type: 'ready' });
}

start(workerData);
