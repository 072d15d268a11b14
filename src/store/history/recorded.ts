import type { PointName } from '../../core/point.ts';
import { type Duration, milliseconds } from '../../core/units.ts';
import { type Database, damaged } from '../open.ts';
import { nameKey } from './tail.ts';

type Range = readonly [first: number, count: number, period: number];

/** Sets of series with their periods, each stored once: ten thousand points of a configuration are a few ranges. */
export class RecordedSets {
  readonly #db: Database;
  /** What was asked for before: questions are about thousands of series and hundreds of runs. */
  readonly #ranges = new Map<number, readonly Range[]>();
  readonly #ids = new Map<string, number>();
  readonly #id: ReturnType<typeof idStatement>;

  constructor(db: Database) {
    this.#db = db;
    this.#id = idStatement(db);
  }

  /** The number of the set; makes what is not there. Within a transaction. */
  idOf(recorded: Iterable<readonly [name: PointName, period: Duration]>): number {
    const text = JSON.stringify(this.#rangesOf(recorded));
    const known = this.#db
      .prepare<[string], number>('SELECT id FROM recorded WHERE ranges = ?')
      .pluck()
      .get(text);
    if (known !== undefined) return known;
    return Number(
      this.#db.prepare<[string]>('INSERT INTO recorded(ranges) VALUES (?)').run(text).lastInsertRowid,
    );
  }

  /** Undefined where the series is not in the set. */
  period(set: number, name: PointName): Duration | undefined {
    const key = nameKey(name);
    const id = this.#ids.get(key) ?? this.#id.get(name.device, name.point, name.unit ?? '');
    if (id === undefined) return undefined;
    this.#ids.set(key, id);
    const range = this.#load(set).find(([first, count]) => id >= first && id < first + count);
    return range === undefined ? undefined : milliseconds(range[2]);
  }

  /** Sets that no run has. */
  forgetUnused(): void {
    this.#db.exec('DELETE FROM recorded WHERE id NOT IN (SELECT recorded FROM run)');
    this.#ranges.clear();
  }

  #load(set: number): readonly Range[] {
    const known = this.#ranges.get(set);
    if (known !== undefined) return known;
    const text = this.#db
      .prepare<[number], string>('SELECT ranges FROM recorded WHERE id = ?')
      .pluck()
      .get(set);
    const ranges = rangesFrom(text ?? '[]');
    this.#ranges.set(set, ranges);
    return ranges;
  }

  #rangesOf(recorded: Iterable<readonly [name: PointName, period: Duration]>): Range[] {
    const ids = new Map(
      this.#db
        .prepare<[], PointName & { id: number }>('SELECT id, device, point, unit FROM series')
        .all()
        .map((series) => [nameKey(series), series.id]),
    );
    const insert = this.#db.prepare<[string, string, string]>(
      'INSERT INTO series(device, point, unit) VALUES (?, ?, ?)',
    );
    const periods = new Map<number, number>();
    for (const [name, period] of recorded) {
      const key = nameKey(name);
      const id = ids.get(key) ?? Number(insert.run(name.device, name.point, name.unit ?? '').lastInsertRowid);
      ids.set(key, id);
      periods.set(id, period);
    }
    return joined([...periods].sort(([a], [b]) => a - b));
  }
}

function idStatement(db: Database) {
  return db
    .prepare<[string, string, string], number>(
      'SELECT id FROM series WHERE device = ? AND point = ? AND unit = ?',
    )
    .pluck();
}

function joined(periods: readonly (readonly [id: number, period: number])[]): Range[] {
  const ranges: Range[] = [];
  for (const [id, period] of periods) {
    const last = ranges.at(-1);
    if (last !== undefined && last[0] + last[1] === id && last[2] === period)
      ranges[ranges.length - 1] = [last[0], last[1] + 1, period];
    else ranges.push([id, 1, period]);
  }
  return ranges;
}

function rangesFrom(text: string): Range[] {
  const found = parsed(text);
  if (!Array.isArray(found)) throw damaged('what a run recorded is damaged');
  return found.map((range: unknown) => {
    const [first, count, period] = Array.isArray(range) ? range.map(Number) : [];
    return [first ?? 0, count ?? 0, period ?? 0];
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
