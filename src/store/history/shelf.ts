import { existsSync } from 'node:fs';
import { join, relative } from 'node:path';
import type { Tier } from '../../core/history.ts';
import { type Bytes, type EpochMs, days, epochMs, hours } from '../../core/units.ts';
import type { Mover } from '../mover.ts';
import { EARLIEST, type HistoryFile, fileAt, filesIn, nextPart } from './files.ts';
import { begun, isSealed } from './make-file.ts';
import { RawFile, type UnrolledHour } from './raw-file.ts';
import { RollupFile, type RollupTier } from './rollup-file.ts';
import { to } from './trouble.ts';

const DAY = days(1);
const HOUR = hours(1);
/** Copying a log back takes a moment; what is left is sealed at the next look. */
const SEALED_AT_ONCE = 4;

export function dayOf(time: number): EpochMs {
  return epochMs(Math.floor(time / DAY) * DAY);
}

export interface ShelfOptions {
  /** `gateway.data`. */
  readonly folder: string;
  /** A part of a day is closed at this size. */
  readonly partBytes: Bytes;
  /** A file is about to be sealed, removed or set aside: whoever reads it lets go. */
  readonly onChange: (path: string, isGone: boolean) => void;
}

/** A part of a day of raw samples. */
interface Part {
  readonly at: HistoryFile;
  /** Open for writing. */
  file: RawFile | undefined;
  /** Hours that are not in the rollups as they are here. */
  unrolled: readonly UnrolledHour[];
  sealed: boolean;
}

/** An hour that is to be rolled up, and the parts of its day that were touched in it. */
export interface TouchedHour {
  readonly hour: EpochMs;
  readonly day: EpochMs;
}

/** A part of the day of an hour that is being rolled up. */
export interface Source {
  readonly file: RawFile;
  readonly touched: UnrolledHour | undefined;
  close(): void;
}

/** The files of the history that are there, and those of them that are open for writing. */
export class Shelf {
  readonly #options: ShelfOptions;
  /** By day, parts in order. */
  readonly #raw = new Map<EpochMs, Part[]>();
  readonly #rollups = new Map<string, { readonly at: HistoryFile; readonly file: RollupFile }>();
  /** Rollup files that were written before and are not sealed. */
  readonly #loose = new Map<string, HistoryFile>();

  constructor(options: ShelfOptions) {
    this.#options = options;
  }

  /** Takes stock of one file after the other. Throws FileTrouble for one that cannot be used; call it again when that is away. */
  load(): void {
    const { folder } = this.#options;
    for (const at of filesIn(folder, 'raw')) this.#loadPart(at);
    for (const at of this.#everyRollup()) {
      to(at.path, () => openRollup(at).close());
      if (!isSealed(at.path)) this.#loose.set(at.path, at);
    }
  }

  /** Days of which there are raw files, oldest first. */
  days(): EpochMs[] {
    return [...this.#raw.keys()].sort((a, b) => a - b);
  }

  /** Every raw file of a day. */
  parts(day: EpochMs): readonly HistoryFile[] {
    return (this.#raw.get(day) ?? []).map(({ at }) => at);
  }

  /** Raw samples of the day were taken from here on, when rows up to `row` were filed; undefined where they were not. */
  filedFrom(day: EpochMs, log: number, row: number): EpochMs | undefined {
    for (const part of this.#raw.get(day) ?? []) {
      const from = this.#look(part, (file) => (file.filedRow(log) < row ? undefined : file.filedFrom(log)));
      if (from !== undefined) return from;
    }
    // Filed, rolled up and given up, before the book could keep that it was filed, or in another book than this one.
    const marks = this.#lookRollup('hour', day, (file) => file.rawMarks(log, day)) ?? [];
    const mark = marks.find((gone) => gone.row >= row);
    return mark === undefined ? undefined : epochMs(mark.floor);
  }

  /** The hour of the latest sample in a raw file has ended by then; that of the whole day where nothing else is left of it. */
  endOf(at: HistoryFile): EpochMs {
    const part = this.#raw.get(dayOf(at.from))?.find((it) => it.at.path === at.path);
    const latest = part === undefined ? undefined : this.#look(part, (file) => file.latest);
    return latest === undefined ? at.to : epochMs(Math.min(at.to, (Math.floor(latest / HOUR) + 1) * HOUR));
  }

  /**
   * Every row of the log at which a file has, or had, everything that belongs into it. Sealed ones too: one of two days
   * that were filed together may be sealed before the other has its part.
   */
  marks(log: number): number[] {
    const marks: number[] = [];
    for (const part of [...this.#raw.values()].flat())
      marks.push(this.#look(part, (file) => file.filedRow(log)));
    for (const at of this.#everyRollup()) marks.push(...to(at.path, () => marksOf(at, log)));
    return [...new Set(marks)].filter((mark) => mark > 0);
  }

  /** The file that takes raw samples of the day. */
  rawFor(day: EpochMs): RawFile {
    const { folder, partBytes } = this.#options;
    const parts = this.#raw.get(day) ?? [];
    const last = parts.at(-1);
    if (last !== undefined) {
      const file = this.#write(last);
      if (file.bytes < partBytes) return file;
    }
    const at = last === undefined ? fileAt(folder, 'raw', day) : nextPart(folder, 'raw', day);
    const part: Part = { at, file: undefined, unrolled: [], sealed: false };
    const file = begun(at, () => this.#write(part));
    this.#raw.set(day, [...parts, part]);
    return file;
  }

  /** Something was filed into the day. */
  touched(day: EpochMs): void {
    for (const part of this.#raw.get(day) ?? [])
      if (part.file !== undefined) this.#lookForHours(part, part.file);
  }

  /** Hours that are not rolled up, oldest first. */
  unrolled(): TouchedHour[] {
    const found = new Map<EpochMs, TouchedHour>();
    for (const [day, parts] of this.#raw)
      for (const { hour } of parts.flatMap((part) => part.unrolled)) found.set(hour, { hour, day });
    return [...found.values()].sort((a, b) => a.hour - b.hour);
  }

  /** The parts of the day of an hour; those that were not touched in it are open for reading only. */
  sources({ day, hour }: TouchedHour): Source[] {
    return (this.#raw.get(day) ?? []).map((part) => {
      const touched = part.unrolled.find((unrolled) => unrolled.hour === hour);
      if (touched !== undefined || part.file !== undefined)
        return { file: this.#write(part), touched, close: () => {} };
      const file = to(part.at.path, () => RawFile.forReading(part.at));
      return { file, touched, close: () => file.close() };
    });
  }

  /** The rollups of the hour are on disk, of what was touched in these files then. */
  rolled({ day, hour }: TouchedHour, upTo: ReadonlyMap<RawFile, number>): void {
    for (const part of this.#raw.get(day) ?? []) {
      const { file } = part;
      const row = file === undefined ? undefined : upTo.get(file);
      if (file === undefined || row === undefined) continue;
      to(part.at.path, () => file.setRolled(hour, row));
      this.#lookForHours(part, file);
    }
  }

  rollup(tier: RollupTier, time: EpochMs): RollupFile {
    const at = fileAt(this.#options.folder, tier, time);
    const known = this.#rollups.get(at.path);
    if (known !== undefined) return known.file;
    this.#options.onChange(at.path, false);
    const open = (): RollupFile => to(at.path, () => RollupFile.openForWriting(at.path, tier));
    const file = existsSync(at.path) ? open() : begun(at, open);
    this.#rollups.set(at.path, { at, file });
    this.#loose.set(at.path, at);
    return file;
  }

  hasRollup(tier: RollupTier, time: EpochMs): boolean {
    return existsSync(fileAt(this.#options.folder, tier, time).path);
  }

  /** Seals files that nothing is expected for: parts that are full, and what ended before `before`. Some at a time. */
  seal(before: EpochMs): void {
    const parts = [...this.#raw].flatMap(([day, all]) => (day + DAY <= before ? all : all.slice(0, -1)));
    const raw = parts.filter(({ sealed, unrolled }) => !sealed && unrolled.length === 0);
    for (const part of raw.slice(0, SEALED_AT_ONCE)) this.#sealPart(part);
    const over = [...this.#loose.values()].filter((at) => at.to <= before && !this.#isAwaited(at));
    for (const at of over.slice(0, SEALED_AT_ONCE)) this.#sealRollup(at);
  }

  /**
   * A raw file, of which everything is in the rollups, is about to be removed. What was filed in it is kept beside the
   * rollups, in the tier that is kept longest: a log that is read again, after a crash or from a backup, must not count
   * it once more. And where raw begins without it: the book may be told only when the file is gone.
   */
  keepMarks(at: HistoryFile, floor: EpochMs): void {
    const day = dayOf(at.from);
    const part = this.#raw.get(day)?.find((it) => it.at.path === at.path);
    if (part === undefined) return;
    const marks = this.#look(part, (file) => file.marks());
    this.#keepInHours(day, (target) => {
      target.keepRawMarks(day, marks);
      if (floor > EARLIEST) target.keepRawFloor(day, floor);
    });
  }

  /** Raw begins at `floor`: late samples that go into the rollups only are about to come. */
  keepRawFloor(floor: EpochMs): void {
    const day = dayOf(floor - 1);
    this.#keepInHours(day, (target) => target.keepRawFloor(day, floor));
  }

  /** Logs take no more room, as far as that is possible: copying one back frees more than it needs. */
  copyBack(): void {
    for (const { file } of this.#rollups.values()) file.copyBack();
    for (const part of [...this.#raw.values()].flat()) part.file?.copyBack();
  }

  /** Is a file open that nobody else can read, because the disk had no room for the index that is shared? */
  get isAlone(): boolean {
    const files = [...this.#raw.values()].flat().map(({ file }) => file);
    return [...files, ...[...this.#rollups.values()].map(({ file }) => file)].some((file) => file?.exclusive);
  }

  /** There is room: such files are opened again, for everybody. */
  openToOthers(): void {
    for (const part of [...this.#raw.values()].flat()) {
      if (part.file?.exclusive !== true) continue;
      part.file.close();
      part.file = undefined;
      this.#write(part);
    }
    for (const [path, { at, file }] of this.#rollups) {
      if (!file.exclusive) continue;
      file.close();
      this.#rollups.delete(path);
      this.rollup(file.tier, at.from);
    }
  }

  /** Files of rollups that somebody reads for so long that their logs grow go on in copies; parts of a day are closed. */
  leaveReaders(mover: Mover): void {
    for (const [path, { at, file }] of this.#rollups) {
      if (!to(path, () => file.heldUp)) continue;
      this.#options.onChange(path, false);
      if (!to(path, () => mover.move(file.stored, 'read'))) continue;
      this.#rollups.delete(path);
      this.rollup(file.tier, at.from);
    }
  }

  /** Closes the handle of a file that is to be removed or set aside, and forgets it. */
  takeOut(path: string): void {
    this.#options.onChange(path, true);
    for (const [day, parts] of this.#raw) {
      const part = parts.find(({ at }) => at.path === path);
      if (part === undefined) continue;
      part.file?.close();
      const left = parts.filter((it) => it !== part);
      if (left.length === 0) this.#raw.delete(day);
      else this.#raw.set(day, left);
    }
    this.#rollups.get(path)?.file.close();
    this.#rollups.delete(path);
    this.#loose.delete(path);
  }

  /** As an event or the book names it. */
  nameOf(path: string): string {
    return relative(this.#options.folder, path);
  }

  pathOf(name: string): string {
    return join(this.#options.folder, name);
  }

  close(): void {
    for (const part of [...this.#raw.values()].flat()) part.file?.close();
    for (const { file } of this.#rollups.values()) file.close();
    this.#raw.clear();
    this.#rollups.clear();
  }

  #keepInHours(day: EpochMs, keep: (target: RollupFile) => void): void {
    const target = this.rollup('hour', day);
    to(target.path, () => {
      target.begin();
      try {
        keep(target);
        target.commit();
      } catch (error) {
        target.rollback();
        throw error;
      }
    });
  }

  #loadPart(at: HistoryFile): void {
    const day = dayOf(at.from);
    const parts = this.#raw.get(day) ?? [];
    if (parts.some((part) => part.at.path === at.path)) return;
    const sealed = to(at.path, () => isSealed(at.path));
    const part: Part = { at, file: undefined, unrolled: [], sealed };
    if (sealed) this.#look(part, () => {});
    else this.#lookForHours(part, this.#write(part));
    this.#raw.set(
      day,
      [...parts, part].sort((a, b) => a.at.part - b.at.part),
    );
  }

  #write(part: Part): RawFile {
    if (part.file !== undefined) return part.file;
    if (part.sealed) this.#options.onChange(part.at.path, false);
    part.file = to(part.at.path, () => RawFile.forWriting(part.at, this.#options.partBytes));
    part.sealed = false;
    return part.file;
  }

  #look<T>(part: Part, look: (file: RawFile) => T): T {
    return to(part.at.path, () => {
      if (part.file !== undefined) return look(part.file);
      const file = RawFile.forReading(part.at);
      try {
        return look(file);
      } finally {
        file.close();
      }
    });
  }

  /** Undefined where there is no such file. */
  #lookRollup<T>(tier: RollupTier, time: EpochMs, look: (file: RollupFile) => T): T | undefined {
    const at = fileAt(this.#options.folder, tier, time);
    const known = this.#rollups.get(at.path)?.file;
    if (known !== undefined) return to(at.path, () => look(known));
    if (!existsSync(at.path)) return undefined;
    return to(at.path, () => {
      const file = openRollup(at);
      try {
        return look(file);
      } finally {
        file.close();
      }
    });
  }

  #lookForHours(part: Part, file: RawFile): void {
    part.unrolled = to(part.at.path, () => file.unrolled());
  }

  #sealPart(part: Part): void {
    this.#options.onChange(part.at.path, false);
    const file = this.#write(part);
    part.file = undefined;
    part.sealed = to(part.at.path, () => file.seal());
  }

  #sealRollup(at: HistoryFile): void {
    const file = this.rollup(at.tier === 'minute' ? 'minute' : 'hour', at.from);
    this.#options.onChange(at.path, false);
    this.#rollups.delete(at.path);
    to(at.path, () => file.seal());
    if (isSealed(at.path)) this.#loose.delete(at.path); // or somebody reads it at the moment
  }

  /** Will the hours of a raw file be written into it? */
  #isAwaited({ from, to: end }: HistoryFile): boolean {
    return this.unrolled().some(({ hour }) => hour >= from && hour < end);
  }

  #everyRollup(): HistoryFile[] {
    const { folder } = this.#options;
    return (['minute', 'hour'] as const satisfies readonly Tier[]).flatMap((tier) => filesIn(folder, tier));
  }
}

function openRollup(at: HistoryFile): RollupFile {
  return RollupFile.openForReading(at.path, at.tier === 'hour' ? 'hour' : 'minute');
}

function marksOf(at: HistoryFile, log: number): number[] {
  const file = openRollup(at);
  try {
    return [file.filedRow(log), ...file.rawMarks(log).map(({ row }) => row)];
  } finally {
    file.close();
  }
}
