import type { Batch } from '../../core/batch.ts';
import type {
  ChartQuery,
  Completeness,
  HistoryQuery,
  HistoryState,
  LastSample,
  Trace,
} from '../../core/history.ts';
import type { Facts } from '../../core/log.ts';
import type { PointName } from '../../core/point.ts';
import type { Bytes, Duration } from '../../core/units.ts';
import type { CloseRequest } from '../thread.ts';
import type { Thresholds } from './thresholds.ts';

/** What passes between the gateway's thread and the historian's, in the order in which it was sent. */
export type Request =
  | { readonly type: 'names'; readonly id: number; readonly points: readonly string[] }
  | { readonly type: 'history'; readonly id: number; readonly query: ChartQuery }
  | { readonly type: 'last'; readonly id: number; readonly points: readonly string[] }
  /** Opens a stream, whose number is that of the request. */
  | { readonly type: 'samples'; readonly id: number; readonly query: HistoryQuery }
  | { readonly type: 'next'; readonly id: number; readonly stream: number }
  /** Nobody reads the stream to its end. */
  | { readonly type: 'leave'; readonly stream: number }
  | { readonly type: 'completeness'; readonly id: number; readonly query: HistoryQuery }
  | { readonly type: 'state'; readonly id: number }
  /** The disk is full: give something up now. */
  | { readonly type: 'shed' }
  | CloseRequest;

export type Reply =
  | { readonly type: 'names'; readonly id: number; readonly names: readonly PointName[] }
  | { readonly type: 'traces'; readonly id: number; readonly traces: readonly Trace[] }
  | { readonly type: 'last'; readonly id: number; readonly samples: readonly LastSample[] }
  /** Undefined at the end of the stream. */
  | { readonly type: 'batch'; readonly id: number; readonly batch: Batch | undefined }
  | { readonly type: 'completeness'; readonly id: number; readonly found: readonly Completeness[] }
  | { readonly type: 'state'; readonly id: number; readonly state: HistoryState }
  | { readonly type: 'done'; readonly id: number }
  /** For the store's thread. */
  | { readonly type: 'filed'; readonly row: number }
  | { readonly type: 'allow'; readonly outbox: Bytes }
  | { readonly type: 'event'; readonly kind: string; readonly subject: string; readonly facts: Facts };

export interface Retention {
  readonly raw: Duration;
  readonly minute: Duration;
  readonly hour: Duration;
  readonly disk: Bytes;
}

export interface WorkerOptions {
  /** `gateway.data`, an absolute path. */
  readonly folder: string;
  readonly retention: Retention;
  /** What the outbox may take where there is room. */
  readonly outbox: Bytes;
  readonly thresholds: Thresholds;
}
