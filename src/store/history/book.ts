import type { Tier } from '../../core/history.ts';
import type { Log } from '../../core/log.ts';
import type { PointName } from '../../core/point.ts';
import type { Bytes, Duration, EpochMs } from '../../core/units.ts';
import type { Outage } from './tail.ts';

/** A row of the sample log: entries that came with it are taken once, however often it is replayed. */
export interface LogRow {
  readonly log: number;
  readonly row: number;
}

/** From a start of the gateway to the last time that it is known to have run. */
export interface Run {
  readonly id: number;
  readonly started: EpochMs;
  /** The last sign of life; the end where it was an orderly one. */
  readonly ended: EpochMs;
}

/** A file that was given up. */
export interface DroppedFile {
  readonly tier: Tier;
  /** Relative to `gateway.data`. */
  readonly file: string;
  /** What it covered. */
  readonly from: EpochMs;
  readonly to: EpochMs;
  readonly time: EpochMs;
  readonly reason: 'retention' | 'quota' | 'disk full' | 'damaged';
  readonly bytes: Bytes;
}

export interface BookOptions {
  /** `history.db` below `gateway.data`. */
  readonly file: string;
  readonly log: Log;
  /** Where raw is complete from, for a new book beside files that are there: the end of the newest hour of minutes. */
  readonly floor: () => EpochMs | undefined;
}

/** The history's own memory, `history.db`: what was recorded when, and what was given up. Every change is one commit. */
export class Book {
  /** Where a damaged file was set aside when this one was opened. */
  readonly aside: string | undefined = undefined;

  /** Raw is complete from here on; it only ever rises. */
  get floor(): EpochMs | undefined {
    return undefined;
  }

  raiseFloor(_floor: EpochMs): void {}

  value(_key: string): number | undefined {
    return undefined;
  }

  setValue(_key: string, _value: number): void {}

  /** The gateway started, and set out to record these series. */
  beginRun(
    _at: LogRow,
    _time: EpochMs,
    _recorded: Iterable<readonly [name: PointName, period: Duration]>,
  ): void {}

  /** A sign of life of the latest run. */
  alive(_time: EpochMs): void {}

  addOutage(_at: LogRow, _outage: Outage): void {}

  addDropped(_dropped: DroppedFile): void {}

  /** Entries that overlap [from, to), in time order. */
  runs(_from: EpochMs, _to: EpochMs): readonly Run[] {
    return [];
  }

  outages(_from: EpochMs, _to: EpochMs): readonly Outage[] {
    return [];
  }

  drops(_from: EpochMs, _to: EpochMs): readonly DroppedFile[] {
    return [];
  }

  /** How often the run set out to record this series; undefined where it did not. */
  period(_run: number, _name: PointName): Duration | undefined {
    return undefined;
  }

  /** What ended before is older than everything that is kept. */
  forget(_before: EpochMs): void {}

  close(): void {}
}

/** Never fails for a damaged file: it is set aside. Refuses a file of a newer Sluice with STORE_FAILED. */
export function openBook(_options: BookOptions): Book {
  return new Book();
}

/** For another process; undefined where there is none. */
export function openBookForReading(_file: string): Book | undefined {
  return undefined;
}
