import { Worker } from 'node:worker_threads';
import type { Batch } from '../../core/batch.ts';
import type {
  ChartQuery,
  Completeness,
  History,
  HistoryQuery,
  HistoryState,
  LastSample,
  Trace,
} from '../../core/history.ts';
import type { Facts, Log } from '../../core/log.ts';
import type { PointName } from '../../core/point.ts';
import type { SampleLog } from '../../core/sample-log.ts';
import { type Bytes, bytes, mebibytes, milliseconds } from '../../core/units.ts';
import { Link } from '../link.ts';
import type { Reply, Request, Retention, WorkerOptions } from './protocol.ts';
import { THRESHOLDS, type Thresholds } from './thresholds.ts';

export interface HistoryOptions {
  /** `gateway.data`: `telemetry.db` lies there, and what is kept below `raw/`, `minute/`, `hour/` and in `history.db`. */
  readonly folder: string;
  readonly retention: Retention;
  /** What the outbox may take where there is room. */
  readonly outbox: Bytes;
  /** Is told what is in files and what the outbox may take. */
  readonly sampleLog: Pick<SampleLog, 'filed' | 'allow'>;
  readonly log: Log;
  /** Something happened that a person may want to know: a file was damaged, history was given up. */
  readonly onEvent?: (kind: string, subject: string, facts: Facts) => void;
  readonly thresholds?: Partial<Thresholds>;
}

export interface GatewayHistory extends History {
  /** The disk is full: give something up now. */
  shed(): void;
  /** Finishes what is being written. What is in no file yet stays in the sample log. Close the outbox afterwards. */
  close(): Promise<void>;
}

/** The sample log may take half of what the outbox may; it is filed when it has half of that. */
const SHARE_OF_OUTBOX = 4;
/** A sample log that is filed at this size fills up in less than a second where many samples come: it is looked at more often. */
const SMALL_LOG = mebibytes(4);
const SMALL_LOG_TICK = milliseconds(200);
/** Where the disk is small, what goes at a time for want of room is a small part of it. */
const PARTS_OF_DISK = 8;
/** The spare room is a smaller one of it. */
const SPARES_OF_DISK = 64;
/** What the thread allocates lives for one page of the log or one query. */
const YOUNG_GENERATION_MB = 16;

/**
 * Opens the history in its own thread, which follows the sample log of the outbox (open that first). Never fails for a
 * damaged file; throws STORE_FAILED where a person has to act, as for files of a newer Sluice.
 */
export async function openHistory(options: HistoryOptions): Promise<GatewayHistory> {
  const { folder, retention, outbox, log, sampleLog, onEvent } = options;
  const logBytes = bytes(Math.min(THRESHOLDS.logBytes, Math.floor(outbox / SHARE_OF_OUTBOX)));
  const workerData: WorkerOptions = {
    folder,
    retention: { ...retention },
    outbox,
    thresholds: {
      ...THRESHOLDS,
      partBytes: bytes(Math.min(THRESHOLDS.partBytes, Math.floor(retention.disk / PARTS_OF_DISK))),
      spareBytes: bytes(Math.min(THRESHOLDS.spareBytes, Math.floor(retention.disk / SPARES_OF_DISK))),
      logBytes,
      tick: logBytes < SMALL_LOG ? SMALL_LOG_TICK : THRESHOLDS.tick,
      ...options.thresholds,
    },
  };
  const spawn = (): Worker =>
    new Worker(new URL('./worker.ts', import.meta.url), {
      workerData,
      name: 'history',
      execArgv: [],
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
    });
  const link = new Link<Request, Reply>({ name: 'history', spawn, log });
  link.onNews((news) => {
    switch (news.type) {
      case 'filed':
        return sampleLog.filed(news.row);
      case 'allow':
        return sampleLog.allow(news.outbox);
      case 'event':
        return onEvent?.(news.kind, news.subject, news.facts);
      default:
        return undefined;
    }
  });
  await link.open();
  return new ThreadHistory(link);
}

class ThreadHistory implements GatewayHistory {
  readonly #link: Link<Request, Reply>;

  constructor(link: Link<Request, Reply>) {
    this.#link = link;
  }

  async names(points: readonly string[]): Promise<readonly PointName[]> {
    const reply = await this.#link.question((id) => ({ type: 'names', id, points }));
    return reply.type === 'names' ? reply.names : unexpected(reply);
  }

  async history(query: ChartQuery): Promise<readonly Trace[]> {
    const reply = await this.#link.question((id) => ({ type: 'history', id, query }));
    return reply.type === 'traces' ? reply.traces : unexpected(reply);
  }

  async last(points: readonly string[]): Promise<readonly LastSample[]> {
    const reply = await this.#link.question((id) => ({ type: 'last', id, points }));
    return reply.type === 'last' ? reply.samples : unexpected(reply);
  }

  /** `names` is filled when the first batch is there. */
  samples(query: HistoryQuery): {
    readonly names: readonly PointName[];
    readonly batches: AsyncIterable<Batch>;
  } {
    const names: PointName[] = [];
    return { names, batches: this.#batches(query, names) };
  }

  async completeness(query: HistoryQuery): Promise<readonly Completeness[]> {
    const reply = await this.#link.question((id) => ({ type: 'completeness', id, query }));
    return reply.type === 'completeness' ? reply.found : unexpected(reply);
  }

  async state(): Promise<HistoryState> {
    const reply = await this.#link.ask((id) => ({ type: 'state', id }));
    return reply.type === 'state'
      ? { ...reply.state, questionsRefused: this.#link.refused }
      : unexpected(reply);
  }

  shed(): void {
    this.#link.post({ type: 'shed' });
  }

  async close(): Promise<void> {
    await this.#link.close();
  }

  async *#batches(query: HistoryQuery, names: PointName[]): AsyncGenerator<Batch> {
    const opened = await this.#link.question((id) => ({ type: 'samples', id, query }));
    if (opened.type !== 'names') return unexpected(opened);
    names.push(...opened.names);
    const stream = opened.id;
    let ended = false;
    try {
      for (;;) {
        const reply = await this.#link.ask((id) => ({ type: 'next', id, stream }));
        if (reply.type !== 'batch') return unexpected(reply);
        ended = reply.batch === undefined;
        if (reply.batch === undefined) return undefined;
        yield reply.batch;
      }
    } finally {
      if (!ended) this.#link.post({ type: 'leave', stream });
    }
  }
}

function unexpected(reply: Reply): never {
  throw new TypeError(`the history answered ${reply.type} where something else was asked`);
}
