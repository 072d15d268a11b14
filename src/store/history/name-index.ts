import { statSync } from 'node:fs';
import { matches } from '../../config/pattern.ts';
import type { PointName } from '../../core/point.ts';
import { type HistoryFile, filesIn } from './files.ts';
import type { Handles } from './handles.ts';
import { nameKey } from './tail.ts';

/** Names take some hundred bytes each, and every one of a point that was renamed stays as long as its files. */
export const MOST_NAMES = 100_000;

/** Every series of the files, each file read again only when it was written. A name that was seen stays. */
export class NameIndex {
  readonly #folder: string;
  readonly #handles: Handles;
  /** By `nameKey`. */
  readonly #known = new Set<string>();
  /** By device and point, which several have where the unit changed. */
  readonly #byPoint = new Map<string, PointName[]>();
  /** Lists that are in here whole. */
  readonly #taken = new WeakSet<readonly PointName[]>();
  /** By path, what the file was like when it was read. */
  readonly #read = new Map<string, string>();

  readonly #most: number;
  readonly #leftOut = new Set<string>();

  constructor(folder: string, handles: Handles, most = MOST_NAMES) {
    this.#folder = folder;
    this.#handles = handles;
    this.#most = most;
  }

  /** Series that found no place; counted up to as many as have one. */
  get leftOut(): number {
    return this.#leftOut.size;
  }

  /** Series that match one of the patterns, in the files or among `others`, which never changes; sorted by name. */
  matching(patterns: readonly string[], others: readonly PointName[]): PointName[] {
    // What is recorded now has a place before what is in old files.
    if (!this.#taken.has(others)) for (const name of others) this.#add(name);
    this.#taken.add(others);
    this.#look();
    const found = new Set(patterns.flatMap((pattern) => this.#matching(pattern)));
    return [...found].sort(inOrder);
  }

  /** A chart names its points one by one, and there may be a hundred thousand. */
  #matching(pattern: string): readonly PointName[] {
    if (!pattern.includes('*')) return this.#byPoint.get(pattern) ?? [];
    return [...this.#byPoint].flatMap(([point, names]) => (matches(pattern, point) ? names : []));
  }

  /** What is in minutes is in hours too, as long as there are any. */
  #look(): void {
    const hours = filesIn(this.#folder, 'hour');
    const rollups = hours.length > 0 ? hours : filesIn(this.#folder, 'minute');
    for (const at of filesIn(this.#folder, 'raw').toReversed())
      this.#take(at, () => this.#handles.raw(at, (file) => file.series()));
    for (const at of rollups.toReversed())
      this.#take(at, () => this.#handles.rollup(at, (file) => file.names()));
  }

  #take(at: HistoryFile, names: () => readonly PointName[] | undefined): void {
    const state = stateOf(at.path);
    if (this.#read.get(at.path) === state) return;
    const found = names();
    if (found === undefined) return; // it may be readable the next time
    this.#read.set(at.path, state);
    for (const name of found) this.#add(name);
  }

  #add({ device, point, unit }: PointName): void {
    const name = unit === undefined || unit === '' ? { device, point } : { device, point, unit };
    const key = nameKey(name);
    if (this.#known.has(key)) return;
    if (this.#known.size >= this.#most) {
      if (this.#leftOut.size < this.#most) this.#leftOut.add(key);
      return;
    }
    this.#known.add(key);
    const both = `${device}/${point}`;
    const others = this.#byPoint.get(both);
    if (others === undefined) this.#byPoint.set(both, [name]);
    else others.push(name);
  }
}

function inOrder(a: PointName, b: PointName): number {
  return compare(a.device, b.device) || compare(a.point, b.point) || compare(a.unit ?? '', b.unit ?? '');
}

function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

function stateOf(path: string): string {
  return [path, `${path}-wal`]
    .map((file) => statSync(file, { throwIfNoEntry: false }))
    .map((stat) => (stat === undefined ? '' : `${stat.ino} ${stat.size} ${stat.mtimeMs}`))
    .join();
}
