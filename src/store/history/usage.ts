import { type Dirent, lstatSync, readdirSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import type { Tier } from '../../core/history.ts';
import { type Bytes, type EpochMs, bytes } from '../../core/units.ts';
import { TIERS, fileOf } from './files.ts';

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
  /** Damaged files of the history that were set aside. */
  readonly aside: readonly { readonly file: string; readonly bytes: Bytes }[];
  /** `telemetry.*`: the outbox with the sample log. A damaged one that was set aside is `other`: a person may want it. */
  readonly outbox: Bytes;
  readonly other: Bytes;
}

export interface Disk {
  /** For this process; what the system keeps for root is not. */
  readonly free: Bytes;
  readonly total: Bytes;
}

/** It looks every ten seconds, and a hundred milliseconds of that is enough. More files are not counted. */
const MAX_FILES = 10_000;
const SIDE = /-(?:wal|shm|journal)$/;
const ASIDE = /\.damaged-/;

/** Looks through the data folder; what disappears meanwhile, or may not be read, counts as nothing. */
export function usageOf(folder: string): Usage {
  const sizes = sizesBelow(folder);
  const files = new Map<string, number>();
  const aside = new Map<string, number>();
  let [outbox, other] = [0, 0];
  for (const [file, size] of sizes) {
    const base = file.replace(SIDE, '');
    const [top = '', ...below] = file.split('/');
    const isHistory = below.length > 0 && TIERS.some((tier) => tier === top);
    if (isHistory && ASIDE.test(base)) aside.set(base, (aside.get(base) ?? 0) + size);
    else if (isHistory && sizes.has(base) && fileOf(base) !== undefined)
      files.set(base, (files.get(base) ?? 0) + size);
    else if (below.length === 0 && top.startsWith('telemetry.') && !ASIDE.test(top)) outbox += size;
    else other += size;
  }
  return {
    files: [...files].flatMap(([file, size]) => storedFile(file, size)),
    aside: [...aside].map(([file, size]) => ({ file, bytes: bytes(size) })),
    outbox: bytes(outbox),
    other: bytes(other),
  };
}

function storedFile(file: string, size: number): StoredFile[] {
  const at = fileOf(file);
  if (at === undefined) return [];
  const { tier, from, to, part } = at;
  return [{ tier, file, from, to, part, bytes: bytes(size) }];
}

/** Sizes by path relative to the folder, those of the history first. Links count themselves, not what they lead to. */
function sizesBelow(folder: string): Map<string, number> {
  const sizes = new Map<string, number>();
  const folders: string[] = [...TIERS];
  const seen = new Set<string>();
  folders.push('');
  for (let at = 0; at < folders.length; at++) {
    const path = folders[at] ?? '';
    if (seen.has(path)) continue;
    seen.add(path);
    for (const entry of entriesOf(join(folder, path))) {
      const name = path === '' ? entry.name : `${path}/${entry.name}`;
      if (entry.isDirectory()) folders.push(name);
      else sizes.set(name, lstatSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0);
      if (sizes.size >= MAX_FILES) return sizes;
    }
  }
  return sizes;
}

function entriesOf(folder: string): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch {
    return [];
  }
}

export function diskOf(folder: string): Disk {
  const { bavail, blocks, bsize } = statfsSync(folder);
  return { free: bytes(bavail * bsize), total: bytes(blocks * bsize) };
}
