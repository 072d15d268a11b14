import { statSync } from 'node:fs';
import { matches } from '../../config/pattern.ts';
import type { PointName } from '../../core/point.ts';
import { type HistoryFile, filesIn } from './files.ts';
import type { Handles } from './handles.ts';
import { nameKey } from './tail.ts';

/** Every series of the files, each file read again only when it was written. A name that was seen stays. */
export class NameIndex {
  readonly #folder: string;
  readonly #handles: Handles;
  readonly #names = new Map<string, PointName>();
  /** By path, what the file was like when it was read. */
  readonly #read = new Map<string, string>();

  constructor(folder: string, handles: Handles) {
    this.#folder = folder;
    this.#handles = handles;
  }

  /** Series that match one of the patterns, in the files or among `others`, sorted by name. */
  matching(patterns: readonly string[], others: readonly PointName[]): PointName[] {
    this.#look();
    for (const name of others) this.#add(name);
    return [...this.#names.values()]
      .filter(({ device, point }) => patterns.some((pattern) => matches(pattern, `${device}/${point}`)))
      .sort(inOrder);
  }

  /** What is in minutes is in hours too, as long as there are any. */
  #look(): void {
    const hours = filesIn(this.#folder, 'hour');
    const rollups = hours.length > 0 ? hours : filesIn(this.#folder, 'minute');
    for (const at of filesIn(this.#folder, 'raw'))
      this.#take(at, () => this.#handles.raw(at, (file) => file.series()));
    for (const at of rollups) this.#take(at, () => this.#handles.rollup(at, (file) => file.names()));
  }

  #take(at: HistoryFile, names: () => readonly PointName[] | undefined): void {
    const state = stateOf(at.path);
    if (this.#read.get(at.path) === state) return;
    this.#read.set(at.path, state);
    for (const name of names() ?? []) this.#add(name);
  }

  #add({ device, point, unit }: PointName): void {
    const name = unit === undefined || unit === '' ? { device, point } : { device, point, unit };
    const key = nameKey(name);
    if (!this.#names.has(key)) this.#names.set(key, name);
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
