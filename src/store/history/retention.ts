import type { Tier } from '../../core/history.ts';
import { type Bytes, type EpochMs, bytes } from '../../core/units.ts';
import type { Retention } from './protocol.ts';

/** A file of the history, with what it brings along (`-wal`, `-shm`). */
export interface StoredFile {
  readonly tier: Tier;
  /** Relative to `gateway.data`, such as `raw/2026-11-26.2.db`. */
  readonly file: string;
  /** The period that its name stands for. */
  readonly from: EpochMs;
  /** Exclusive. */
  readonly to: EpochMs;
  /** Parts of a raw day count from 1; 1 elsewhere. */
  readonly part: number;
  readonly bytes: Bytes;
}

/** Everything below `gateway.data`. */
export interface Usage {
  readonly files: readonly StoredFile[];
  /** Damaged files of the history that were set aside; the first to go. */
  readonly aside: readonly { readonly file: string; readonly bytes: Bytes }[];
  /** `telemetry.*`: the outbox with the sample log. */
  readonly outbox: Bytes;
  readonly other: Bytes;
}

export interface Disk {
  readonly free: Bytes;
  readonly total: Bytes;
}

export interface Situation {
  readonly usage: Usage;
  readonly disk: Disk;
  readonly retention: Retention;
  /** What the outbox may take where there is room. */
  readonly outbox: Bytes;
  /** For ages; see `believed-clock.ts`. */
  readonly believed: EpochMs;
  /** Raw days that begin after this were written under a wrong clock. */
  readonly horizon: EpochMs;
  /** Files open for writing: they go last of their tier. The caller closes one that is dropped. */
  readonly writing: ReadonlySet<string>;
}

export interface Drop {
  readonly file: string;
  /** Undefined for a damaged file that was set aside. */
  readonly stored: StoredFile | undefined;
  readonly reason: 'retention' | 'quota' | 'disk full';
  readonly bytes: Bytes;
  /** Written under a wrong clock: dropping it must not raise the floor of raw, which would refuse the present. */
  readonly future: boolean;
}

export interface Plan {
  /** In the order in which they are to go. */
  readonly drops: readonly Drop[];
  /** What the outbox may take from now on. */
  readonly allow: Bytes;
}

/** Pure: what has to go so that everything stays within age, quota and the room on the disk. */
export function planRetention({ outbox }: Situation): Plan {
  return { drops: [], allow: outbox };
}

/** Looks through the data folder. */
export function usageOf(_folder: string): Usage {
  return { files: [], aside: [], outbox: bytes(0), other: bytes(0) };
}

export function diskOf(_folder: string): Disk {
  return { free: bytes(0), total: bytes(0) };
}
