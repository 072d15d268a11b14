import type { Batch } from '../core/batch.ts';
import type { Lane, OutboxState } from '../core/outbox.ts';
import type { Outage } from '../telemetry/sample-log.ts';
import type { RecordedPoint } from './series.ts';
import type { CloseRequest } from './thread.ts';

/** What passes between the gateway's thread and the store's, in the order in which it was sent. */
export type Request =
  | { readonly type: 'append'; readonly id: number; readonly batch: Batch }
  /** Samples for the sample log. */
  | { readonly type: 'record'; readonly id: number; readonly batch: Batch }
  | { readonly type: 'event'; readonly id: number; readonly topic: string; readonly payload: string }
  /** Samples that were given up before they reached the store's thread; `outage` of those for the sample log. */
  | {
      readonly type: 'lost';
      readonly id: number;
      readonly samples: number;
      readonly reason: string;
      readonly outage: Outage | undefined;
    }
  | { readonly type: 'filed'; readonly row: number }
  | { readonly type: 'allow'; readonly limit: number }
  | {
      readonly type: 'consumer';
      readonly id: number;
      readonly name: string;
      readonly note: string | undefined;
    }
  | { readonly type: 'consumers'; readonly id: number }
  | { readonly type: 'forget'; readonly id: number; readonly name: string }
  | { readonly type: 'rewind'; readonly id: number; readonly name: string }
  | {
      readonly type: 'read';
      readonly id: number;
      readonly name: string;
      readonly lane: Lane;
      readonly limit: number;
    }
  | {
      readonly type: 'acknowledge';
      readonly name: string;
      readonly lane: Lane;
      readonly rows: readonly number[];
    }
  | { readonly type: 'state'; readonly id: number }
  | CloseRequest;

/** Unread rows of a consumer, by lane. */
export interface Unread {
  readonly live: boolean;
  readonly history: boolean;
}

/** Rows and their texts, each in a buffer that is handed over. */
export interface Rows {
  readonly ids: readonly number[];
  readonly texts: readonly Uint8Array<ArrayBuffer>[];
}

export type Reply =
  /** Appends that are on disk. */
  | { readonly type: 'settled'; readonly ids: readonly number[] }
  /** There are new rows. */
  | { readonly type: 'grown' }
  /** A commit met a full disk; it is tried again. */
  | { readonly type: 'full' }
  | { readonly type: 'done'; readonly id: number }
  | { readonly type: 'unread'; readonly id: number; readonly unread: Unread }
  | { readonly type: 'rows'; readonly id: number; readonly rows: Rows; readonly unread: Unread }
  | {
      readonly type: 'consumers';
      readonly id: number;
      readonly consumers: readonly { readonly name: string; readonly note: string; readonly since: number }[];
    }
  | { readonly type: 'state'; readonly id: number; readonly state: OutboxState };

/** Less than this an outbox cannot work with. */
export const MIN_LIMIT_BYTES = 1_048_576;
const MAX_SAMPLE_LOG_BYTES = 67_108_864;

/** What the sample log may take beside an outbox of this limit, until it is filed. */
export function sampleLogBytes(limit: number): number {
  return Math.min(MAX_SAMPLE_LOG_BYTES, limit / 2);
}

export interface WorkerOptions {
  readonly file: string;
  readonly limit: number;
  /** What the sample log may take beside `limit`. */
  readonly sampleLog: number;
  /** A file that is smaller is not made smaller, however empty it is. */
  readonly shrinkFrom: number;
  readonly points: readonly RecordedPoint[];
  readonly commitEvery: number;
  /** Where nothing is recorded for so long, a row of the sample log says that the gateway runs. */
  readonly signEvery: number;
}
