import type { PointName } from '../../core/point.ts';
import { nameKey } from './tail.ts';

/** The series of one sample log, by their numbers in it. */
export class Catalog {
  readonly #names: (PointName | undefined)[] = [undefined];
  readonly #ids = new Map<string, number>();
  /** Of `names`, until there is another one. */
  #list: readonly PointName[] | undefined;

  /** The highest number. */
  get size(): number {
    return this.#names.length - 1;
  }

  set(id: number, name: PointName): void {
    while (this.#names.length < id) this.#names.push(undefined); // a number that was given and never used
    this.#names[id] = name;
    this.#ids.set(nameKey(name), id);
    this.#list = undefined;
  }

  name(id: number): PointName | undefined {
    return this.#names[id];
  }

  id(name: PointName): number | undefined {
    return this.#ids.get(nameKey(name));
  }

  /** The same list as before where nothing was added since. */
  names(): readonly PointName[] {
    this.#list ??= this.#names.flatMap((name) => name ?? []);
    return this.#list;
  }
}
