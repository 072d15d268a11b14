import type { BatchBuilder, PointValue } from '../core/batch.ts';
import type { Duration, EpochMs } from '../core/units.ts';

/**
 * One request (or one indivisible group of requests) that a line repeats: its points share unit, period and, for
 * Modbus, table. Planned once, when the line is made.
 */
export interface Poll {
  /** What fails together: the Modbus unit, the CoAP device. The runner's back-off is keyed by (endpoint, unit). */
  readonly unit: string;
  readonly device: string;
  readonly every: Duration;
  /** Indices into `Config.points`. */
  readonly points: readonly number[];
  /** For people: `input 0..29 of unit 1` or `GET /sensors/level`. */
  readonly what: string;
}

/** One run of a poll. */
export interface Scan {
  readonly signal: AbortSignal;
  /**
   * The time of what has just arrived: that of the tick where the poll is in time, otherwise the moment of the call. To
   * be called when a reply has arrived, once for all points in it; a device that says when it measured knows better.
   */
  readonly stamp: () => EpochMs;
}

/**
 * One endpoint with everything behind it. The runner calls; it owns schedule, retry, back-off and jitter. A line
 * never retries by itself (RFC 7252 retransmission of one message is part of one exchange), never sleeps between
 * polls, and settles every promise within its own time-out, also when the signal is aborted.
 *
 * Protocol between runner and line:
 *  1. `connect` first; again, with back-off, after any CONNECTION_LOST. A line without connections resolves at once.
 *  2. `poll` only while connected, at most `inFlight` at a time. It either appends exactly one sample for each point
 *     of the poll to `into` (bad ones with their reason: an exception reply is an answer) and returns, or appends
 *     nothing and throws a SluiceError: DEVICE_TIMEOUT and REPLY_MISMATCH concern the unit alone, CONNECTION_LOST
 *     the whole line (with reason `timeout` where the endpoint is there and nothing behind it answers), DEVICE_REFUSED
 *     with reason `server device busy` asks for another try before the next tick. The runner then appends the bad
 *     samples, with the time at which it knows: until then the device might still have answered. Samples of a reply
 *     carry `scan.stamp()`.
 *  3. `write` and `readBack` obey the same limit; the runner puts them before polls. They throw DEVICE_REFUSED where
 *     the device says no.
 *  4. `watch`, where the protocol has it (Observe), runs until aborted and appends to `into` whatever arrives, with the time
 *     at which it came.
 *  5. `close` at the end, once; pending calls fail with CONNECTION_LOST.
 */
export interface Line {
  /** Endpoint without unit: `modbus-tcp://10.20.20.11:502`. */
  readonly endpoint: string;
  /** Requests that the endpoint takes at a time; 1 unless configured. */
  readonly inFlight: number;
  readonly polls: readonly Poll[];
  /** What `watch` serves, where the line has it: these points turn bad with the connection, as those of polls do. */
  readonly watched?: readonly number[];
  connect(signal: AbortSignal): Promise<void>;
  poll(poll: Poll, into: BatchBuilder, scan: Scan): Promise<void>;
  write?(point: number, value: PointValue, signal: AbortSignal): Promise<void>;
  readBack?(point: number, signal: AbortSignal): Promise<PointValue>;
  watch?(into: BatchBuilder, signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}
