import { readdirSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Tier } from '../../core/history.ts';
import { type EpochMs, epochMs } from '../../core/units.ts';

/** A file of the history by its name: `raw/2026-11-22.db`, `raw/2026-11-22.2.db`, `minute/2026-11-22.db`, `hour/2026-11.db`. */
export interface HistoryFile {
  readonly tier: Tier;
  /** `2026-11-22`, or `2026-11` for the tier of hours. UTC. */
  readonly period: string;
  /** From 1, which the name leaves out. */
  readonly part: number;
  readonly path: string;
  readonly from: EpochMs;
  /** Exclusive. */
  readonly to: EpochMs;
}

export const TIERS: readonly Tier[] = ['raw', 'minute', 'hour'];

const NAME = /^(\d{4}-\d\d(?:-\d\d)?)(?:\.([1-9]\d{0,3}))?\.db$/;
/** Names of four digits: what is earlier or later is the time of no sample. */
export const EARLIEST: EpochMs = epochMs(0);
export const LATEST: EpochMs = epochMs(Date.UTC(9_999, 11, 31, 23, 59, 59, 999));

/** The file of the period in which `at` lies. Throws RangeError for a time before 1970 or after 9999. */
export function fileAt(folder: string, tier: Tier, at: EpochMs, part = 1): HistoryFile {
  if (!(at >= EARLIEST && at <= LATEST)) throw new RangeError(`no file for the time ${at}`);
  const period = new Date(at).toISOString().slice(0, tier === 'hour' ? 7 : 10);
  const name = part === 1 ? `${period}.db` : `${period}.${part}.db`;
  return { tier, period, part, path: join(folder, tier, name), ...spanOf(period) };
}

/** What a path says; undefined for a stranger, such as one that was set aside or a write-ahead log. */
export function fileOf(path: string): HistoryFile | undefined {
  const tier = TIERS.find((known) => known === basename(dirname(path)));
  const [, period, digits] = NAME.exec(basename(path)) ?? [];
  if (tier === undefined || period === undefined || digits === '1') return undefined;
  const { from, to } = spanOf(period);
  const isPeriod = from >= EARLIEST && new Date(from).toISOString().startsWith(period);
  if (!isPeriod || (tier === 'hour') !== (period.length === 7)) return undefined;
  return { tier, period, part: Number(digits ?? 1), path, from, to };
}

/** The files of a tier below `folder`, which is that of all tiers: oldest first, parts in order. */
export function filesIn(folder: string, tier: Tier): HistoryFile[] {
  return namesIn(join(folder, tier))
    .flatMap((name) => fileOf(join(folder, tier, name)) ?? [])
    .sort((a, b) => a.from - b.from || a.part - b.part);
}

/** The part that follows all that are there, of the period in which `at` lies. */
export function nextPart(folder: string, tier: Tier, at: EpochMs): HistoryFile {
  const first = fileAt(folder, tier, at);
  const last = filesIn(folder, tier).findLast(({ period }) => period === first.period);
  return last === undefined ? first : fileAt(folder, tier, at, last.part + 1);
}

/** The database, its log and its shared memory. */
export function pathsOf({ path }: Pick<HistoryFile, 'path'>): string[] {
  return [path, `${path}-wal`, `${path}-shm`];
}

function spanOf(period: string): { readonly from: EpochMs; readonly to: EpochMs } {
  const [year = 0, month = 1, day] = period.split('-').map(Number);
  const to = day === undefined ? Date.UTC(year, month) : Date.UTC(year, month - 1, day + 1);
  return { from: epochMs(Date.UTC(year, month - 1, day ?? 1)), to: epochMs(to) };
}

/** Everything in a folder; nothing where there is none. */
export function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
}

/** Undefined where there is no such file. */
export function inodeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.ino;
}
