import { errorText } from '../../core/errors.ts';
import type { Log } from '../../core/log.ts';
import type { Span } from '../../telemetry/spans.ts';
import { isDamage, isFull, isTrouble } from '../open.ts';
import { ChartCache } from './chart-cache.ts';
import { type HistoryFile, inodeOf } from './files.ts';
import { RawFile } from './raw-file.ts';
import { RollupFile } from './rollup-file.ts';

/** Enough for a quarter of minutes or five years of hours; a sealed file takes one descriptor, another one three. */
const MAX_OPEN = 64;

interface Handle<File> {
  readonly file: File;
  readonly inode: number;
}

/** A file, or a time of it, that could not be read, and why. */
export interface Unreadable extends Span {
  readonly at: HistoryFile;
  readonly because: string;
}

interface Piece extends Unreadable {
  /** When it counts as readable again, by a clock that never steps. */
  readonly until: number;
  /** For want of room, which may be there now. */
  readonly isForRoom: boolean;
}

/** A full disk, or one that fails, may read the file the next time. */
const TRY_AGAIN_MILLISECONDS = 5_000;

/** Of one file; with more of them it counts as unreadable altogether. */
const MAX_PIECES = 64;

/**
 * Files of the history that are open for reading, the latest used ones. A file that was removed or replaced is let go
 * when it is asked for; one that cannot be read is told once and left out.
 */
export class Handles {
  /**
   * Files that are gone, or replaced, or found unreadable, and were read, or were to be: what is left may not have what
   * was in them.
   */
  gone = 0;
  readonly #log: Log;
  readonly #raw = new Map<string, Handle<RawFile>>();
  readonly #rollups = new Map<string, Handle<RollupFile>>();
  /** What was made of files of rollups. */
  readonly charts = new ChartCache();
  readonly #unreadable = new Map<string, { readonly inode: number; pieces: Piece[] }>();

  readonly #onUnreadable: (path: string, error: unknown) => void;

  /** `onUnreadable` hears of each file once. */
  constructor(log: Log, onUnreadable: (path: string, error: unknown) => void = () => {}) {
    this.#log = log;
    this.#onUnreadable = onUnreadable;
  }

  /** What `read` says of a file of raw samples; undefined where there is no such file (any more), or it cannot be read. */
  raw<T>(at: HistoryFile, read: (file: RawFile) => T): T | undefined {
    return this.#read(this.#raw, at, () => RawFile.forReading(at), read);
  }

  rollup<T>(at: HistoryFile, read: (file: RollupFile) => T): T | undefined {
    const tier = at.tier === 'hour' ? 'hour' : 'minute';
    return this.#read(
      this.#rollups,
      at,
      () => RollupFile.openForReading(at.path, tier),
      (file) => {
        const answer = read(file);
        if (file.damagedRows > 0) this.note(at, new Error(`${file.damagedRows} rows are damaged`));
        return answer;
      },
    );
  }

  /** The file cannot be read, or only this time of it. */
  note(at: HistoryFile, error: unknown, { from, to }: Span = at): void {
    const inode = inodeOf(at.path) ?? 0;
    const because = errorText(error);
    const known = this.#unreadable.get(at.path);
    const piece = { at, because, from, to, until: untilOf(error), isForRoom: isFull(error) };
    if (known?.inode === inode) {
      known.pieces = known.pieces.filter(isStill);
      const [first] = known.pieces;
      if (first !== undefined && known.pieces.length >= MAX_PIECES)
        known.pieces.splice(0, MAX_PIECES, { ...first, from: at.from, to: at.to });
      if (known.pieces.some((other) => other.from <= from && other.to >= to)) return;
      known.pieces.push(piece);
      this.gone++;
      return;
    }
    this.#unreadable.set(at.path, { inode, pieces: [piece] });
    this.gone++;
    this.#onUnreadable(at.path, error);
    this.#log.error('a file of the history, or a part of it, cannot be read and is left out', {
      file: at.path,
      because,
    });
  }

  /** Another question: what could not be read for want of room may be readable now. */
  tryAgain(): void {
    for (const known of this.#unreadable.values())
      known.pieces = known.pieces.filter(({ isForRoom }) => !isForRoom);
  }

  /** What could not be read; of a file that was replaced since then nothing is among it. */
  unreadable(): Unreadable[] {
    return [...this.#unreadable].flatMap(([path, { inode, pieces }]) =>
      inodeOf(path) === inode ? pieces.filter(isStill) : [],
    );
  }

  /** The file is about to be sealed, or to be removed or set aside. */
  forget(path: string, isGone: boolean): void {
    if (isGone) this.gone++;
    this.#letGo(path);
    this.#unreadable.delete(path);
  }

  close(): void {
    for (const path of [...this.#raw.keys(), ...this.#rollups.keys()]) this.#letGo(path);
    this.charts.clear();
  }

  #read<File extends { close(): void }, T>(
    open: Map<string, Handle<File>>,
    at: HistoryFile,
    opened: () => File,
    read: (file: File) => T,
  ): T | undefined {
    const inode = inodeOf(at.path);
    let handle = open.get(at.path);
    if (handle !== undefined && handle.inode !== inode) {
      this.#letGo(at.path);
      this.gone++;
      handle = undefined;
    } else if (inode === undefined && at.tier === 'raw') this.gone++;
    if (inode === undefined) return undefined;
    try {
      handle ??= { file: opened(), inode };
      // Deleted and set again: the map is in the order of use.
      open.delete(at.path);
      open.set(at.path, handle);
      const answer = read(handle.file);
      this.#bound(open);
      return answer;
    } catch (error) {
      this.#letGo(at.path);
      if (inodeOf(at.path) === inode) this.note(at, error);
      return undefined;
    }
  }

  #letGo(path: string): void {
    for (const open of [this.#raw, this.#rollups]) {
      open.get(path)?.file.close();
      open.delete(path);
    }
  }

  #bound(open: ReadonlyMap<string, unknown>): void {
    for (const path of open.keys()) {
      if (open.size <= MAX_OPEN) return;
      this.#letGo(path);
    }
  }
}

function untilOf(error: unknown): number {
  return isTrouble(error) && !isDamage(error)
    ? performance.now() + TRY_AGAIN_MILLISECONDS
    : Number.POSITIVE_INFINITY;
}

function isStill({ until }: Piece): boolean {
  return until > performance.now();
}
