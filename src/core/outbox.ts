import type { Batch } from './batch.ts';
import type { Bytes, Duration } from './units.ts';

/**
 * `history` is telemetry that had to wait for the connection. `live` is what was committed since it stands, behind
 * everything else that had to wait: events and gaps keep their topic, so they keep their place before newer ones.
 */
export type Lane = 'live' | 'history';

/** One MQTT message: topic below `sluice/<gateway>/`, such as `telemetry/meter-main`. */
export interface Message {
  readonly topic: string;
  readonly payload: Uint8Array;
}

/** One journal row: telemetry, events or gaps of one commit, in order. */
export interface Row {
  readonly id: number;
  readonly messages: readonly Message[];
}

/** What still has to reach somebody; survives kill -9 and power cut. */
export interface Outbox {
  /**
   * Takes the samples over (their buffers are transferred). Resolves when they are on disk; rejects with OUTBOX_FULL
   * where they had to be given up, which is counted and told as a gap.
   */
  append(batch: Batch): Promise<void>;
  /** Something that happened, committed at once; `payload` goes out as it is, on `topic`. */
  appendEvent(topic: string, payload: string): Promise<void>;
  /**
   * Somebody with a place of its own in the outbox: the upstream, or a persistent session of the embedded broker.
   * New ones start at the end. `note` is kept with it (the subscriptions of a session) and replaces the stored one.
   */
  consumer(name: string, note?: string): Promise<Consumer>;
  /** Consumers that are on disk, with their notes. */
  consumers(): Promise<readonly { readonly name: string; readonly note: string; readonly since: number }[]>;
  /** Nothing is kept for this consumer any more. */
  forget(name: string): Promise<void>;
  state(): Promise<OutboxState>;
  /** Commits what is pending and closes the database. */
  close(): Promise<void>;
}

export interface Consumer {
  readonly name: string;
  /**
   * A new connection: whatever is on disk and not acknowledged will be handed out again, telemetry as history,
   * events and gaps as the first rows of the live lane; what is committed from now on is live.
   */
  rewind(): Promise<void>;
  /** Rows of the lane that were not handed out since `rewind`, oldest first, about `limit` bytes; empty where none. */
  read(lane: Lane, limit: Bytes): Promise<readonly Row[]>;
  /**
   * All messages of the row were acknowledged by the receiver; rows may come in any order. Durable with the next
   * commit: after a crash some rows may be handed out again, never the other way round.
   */
  acknowledge(lane: Lane, row: number): void;
  /** Resolves when there may be rows to read that `read` has not handed out; rejects when the signal is aborted. */
  more(signal: AbortSignal): Promise<void>;
}

export interface OutboxState {
  readonly rows: number;
  readonly bytes: number;
  /** Sequence number that the next message will get. */
  readonly nextSeq: number;
  readonly commits: number;
  readonly samplesCommitted: number;
  /** Samples that were given up before a commit, and messages that retention dropped. */
  readonly samplesLost: number;
  readonly messagesDropped: number;
  /** Samples that are in the sample log, or were, since the start; and those that could not be recorded. */
  readonly samplesRecorded: number;
  readonly samplesUnrecorded: number;
  readonly failing: string | null;
  /** What the outbox may take at present, with its log and its spare room. */
  readonly limit: Bytes;
  /**
   * What is added to the outbox, as the pages that it takes in the file: what was committed in the last ten minutes, or
   * since the start, divided by that time (the oldest half minute of it may be missing). Independent of delivery.
   */
  readonly bytesPerSecond: number;
  /**
   * How long an outage the outbox still holds before the oldest goes: what is left of `limit`, without log and spare
   * room, divided by `bytesPerSecond`. Undefined where nothing is added.
   */
  readonly holdsFor: Duration | undefined;
  /** On disk, for whoever has not acknowledged them. */
  readonly messagesWaiting: number;
  /**
   * How long the backlog needs: what waits on the disk, divided by the rate of delivery over the last minute that was
   * spent draining (in which everybody took what waited for a connection), less `bytesPerSecond`. 0 where nothing waited
   * for a connection; undefined where nothing has drained since the start, or no faster than it grows.
   */
  readonly drainsIn: Duration | undefined;
}
