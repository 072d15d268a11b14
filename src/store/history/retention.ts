import { type Bytes, type Duration, type EpochMs, bytes, days, mebibytes } from '../../core/units.ts';
import { sampleLogBytes } from '../protocol.ts';
import type { Retention } from './protocol.ts';
import type { Disk, StoredFile, Usage } from './usage.ts';

export { type Disk, type StoredFile, type Usage, diskOf, usageOf } from './usage.ts';

export interface Situation {
  readonly usage: Usage;
  readonly disk: Disk;
  readonly retention: Retention;
  /** What the outbox may take where there is room. */
  readonly outbox: Bytes;
  /** For ages, and for what is of the future; see `believed-clock.ts`. */
  readonly believed: EpochMs;
  readonly horizon: EpochMs;
  /** How long the gateway has run since its clock was set by more than a day. */
  readonly ran: Duration;
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
  /** In the order in which they are to go. A file that is open for writing is closed first. */
  readonly drops: readonly Drop[];
  /** What would go after these, where one of them cannot. */
  readonly next: readonly Drop[];
  /** What the outbox may take from now on. */
  readonly allow: Bytes;
}

/** The outbox is never taken all room: alarms still go out. */
const LEAST_OUTBOX = mebibytes(1);
const MEBIBYTE = mebibytes(1);
/** Once over quota, so much more goes: not a file at every look. */
const QUOTA_MARGIN = 1 / 50;
/** A device may be ahead by up to a day, so there may be a file of tomorrow. */
const FUTURE = days(1);

/**
 * Free space that stays: a full write-ahead log (64 MiB), what is filed at once (32 MiB of the sample log at most) and
 * a commit, with as much again for others. Of a large disk a few per cent, of a small one never more than an eighth.
 */
const RESERVE_SHARE = 0.03;
const RESERVE_LEAST = mebibytes(128);
const RESERVE_MOST = mebibytes(512);
const RESERVE_MOST_SHARE = 1 / 8;
/** Once below, so much more of it is made free. */
const RESERVE_MARGIN = 1.25;

export function reserveOf({ total }: Disk): Bytes {
  const share = Math.min(RESERVE_MOST, Math.max(RESERVE_LEAST, total * RESERVE_SHARE));
  return bytes(Math.floor(Math.min(share, total * RESERVE_MOST_SHARE)));
}

/**
 * What has to go so that everything stays within age, quota and the room on the disk. By age files go when all of them
 * is too old. For want of room: damaged files that were set aside, what was written under a clock that ran ahead, the
 * oldest raw samples, the oldest minutes. Then the outbox has to do with less. Hours are never given up for room.
 */
export function planRetention(situation: Situation): Plan {
  const { usage, disk, retention } = situation;
  const old = usage.files.filter((file) => isOld(file, situation)).sort(byAge);
  const drops: Drop[] = old.map((stored) => dropOf(stored, 'retention', isFuture(stored, situation)));
  const waiting = inOrder(situation, new Set(old));
  const shed = (over: number, reason: Drop['reason']): void => {
    for (let freed = 0; freed < over; ) {
      const next = waiting.shift();
      if (next === undefined) return;
      drops.push({ ...next, reason });
      freed += next.bytes;
    }
  };
  const used = totalOf(usage) - sum(drops);
  if (used > retention.disk) shed(used - targetOf(retention.disk), 'quota');
  const reserve = reserveOf(disk);
  const free = disk.free + sum(drops);
  if (free < reserve) shed(reserve * RESERVE_MARGIN - free, 'disk full');
  const next = waiting.map((drop) => ({ ...drop, reason: 'disk full' }) as const);
  return { drops, next, allow: allowed(situation, drops, waiting) };
}

/** What was written under a clock that ran ahead has no age by the clock that is right; but it is older than that one. */
function isOld(file: StoredFile, situation: Situation): boolean {
  const { retention, believed, ran } = situation;
  const kept = retention[file.tier];
  return file.to + kept <= believed || (isFuture(file, situation) && ran >= kept);
}

function isFuture({ from }: StoredFile, { horizon }: Situation): boolean {
  return from > horizon + FUTURE;
}

/** What may be given up for want of room, the first first. */
function inOrder(situation: Situation, gone: ReadonlySet<StoredFile>): Omit<Drop, 'reason'>[] {
  const { usage } = situation;
  const isAhead = (file: StoredFile): boolean => isFuture(file, situation);
  const left = usage.files.filter((file) => !gone.has(file) && file.tier !== 'hour').sort(byAge);
  const aside = usage.aside.toSorted((a, b) => (a.file < b.file ? -1 : 1));
  return [
    ...aside.map(({ file, bytes: size }) => ({ file, stored: undefined, bytes: size, future: false })),
    ...left.filter(isAhead).map((stored) => dropOf(stored, 'quota', true)),
    ...left.filter((file) => !isAhead(file)).map((stored) => dropOf(stored, 'quota', false)),
  ];
}

/** Raw before minutes before hours, then the oldest first. */
function byAge(a: StoredFile, b: StoredFile): number {
  return RANK[a.tier] - RANK[b.tier] || a.from - b.from || a.part - b.part;
}

const RANK = { raw: 0, minute: 1, hour: 2 } as const;

function dropOf(stored: StoredFile, reason: Drop['reason'], future: boolean): Drop {
  return { file: stored.file, stored, reason, bytes: stored.bytes, future };
}

/**
 * Whatever may be dropped goes before the outbox, so only what may not be dropped narrows it: neither its own size nor
 * that of the files moves the bound, and it does not swing.
 */
function allowed(
  { usage, disk, retention, outbox }: Situation,
  drops: readonly Drop[],
  waiting: readonly { bytes: Bytes }[],
): Bytes {
  const fixed = totalOf(usage) - usage.outbox - sum(drops) - sum(waiting);
  const byQuota = targetOf(retention.disk) - fixed;
  const byDisk = usage.outbox + disk.free + sum(drops) + sum(waiting) - reserveOf(disk);
  const most = Math.min(byQuota, byDisk) - sampleLogBytes(outbox); // which lies in the same file, and is not narrowed
  if (most >= outbox) return outbox;
  return bytes(Math.min(outbox, Math.max(LEAST_OUTBOX, Math.floor(most / MEBIBYTE) * MEBIBYTE)));
}

function targetOf(quota: Bytes): number {
  return quota * (1 - QUOTA_MARGIN);
}

function totalOf({ files, aside, outbox, other }: Usage): number {
  return sum(files) + sum(aside) + outbox + other;
}

function sum(all: readonly { readonly bytes: Bytes }[]): number {
  return all.reduce((total, each) => total + each.bytes, 0);
}
