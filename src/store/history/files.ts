import type { Tier } from '../../core/history.ts';
import type { EpochMs } from '../../core/units.ts';

/** A file of the history by its name: `raw/2026-11-22.db`, `raw/2026-11-22.2.db`, `minute/2026-11-22.db`, `hour/2026-11.db`. */
export interface HistoryFile {
  readonly tier: Tier;
  /** `2026-11-22`, or `2026-11` for the tier of hours. UTC. */
  readonly period: string;
  /** From 1; only a name says it. */
  readonly part: number;
  readonly path: string;
  readonly from: EpochMs;
  /** Exclusive. */
  readonly to: EpochMs;
}

/** The file of the period in which `at` lies. */
export function fileAt(_folder: string, _tier: Tier, _at: EpochMs, _part = 1): HistoryFile {
  throw new Error('not built yet');
}

/** What a path says; undefined for a stranger, such as one set aside or a write-ahead log. */
export function fileOf(_path: string): HistoryFile | undefined {
  throw new Error('not built yet');
}

/** The files of a tier below `folder` (that of all tiers), oldest first, parts in order. */
export function filesIn(_folder: string, _tier: Tier): HistoryFile[] {
  throw new Error('not built yet');
}

/** The part that follows all that are there, for the period in which `at` lies. */
export function nextPart(_folder: string, _tier: Tier, _at: EpochMs): HistoryFile {
  throw new Error('not built yet');
}
