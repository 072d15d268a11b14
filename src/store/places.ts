import { Cursor, type Needs } from './cursor.ts';
import type { Database } from './open.ts';
import { type Range, union } from './ranges.ts';

export interface Entry {
  note: string;
  readonly since: number;
  readonly cursor: Cursor;
  /** Place and note as they are on disk, as one text. */
  saved: string;
}

interface StoredConsumer {
  readonly name: string;
  readonly ranges: string;
  readonly events: string;
  readonly live: number;
  readonly note: string;
  readonly since: number;
}

/** The consumers and their places: the statements on table `consumer`, and what of them is not on disk yet. */
export class Places {
  readonly consumers = new Map<string, Entry>();
  readonly #db: Database;
  readonly #forgotten = new Set<string>();
  readonly #save;
  readonly #delete;
  #saving: [Entry, string][] = [];

  constructor(db: Database) {
    this.#db = db;
    this.#save = db.prepare<[string, string, string, number, string, number]>(
      'INSERT OR REPLACE INTO consumer(name, ranges, events, live, note, since) VALUES(?,?,?,?,?,?)',
    );
    this.#delete = db.prepare<[string]>('DELETE FROM consumer WHERE name = ?');
  }

  load(): void {
    const rows = this.#db
      .prepare<[], StoredConsumer>('SELECT name, ranges, events, live, note, since FROM consumer')
      .all();
    for (const { name, ranges, events, live, note, since } of rows) {
      const place = { history: rangesFrom(ranges, live), events: rangesFrom(events, live), live };
      const entry = { note, since, cursor: new Cursor(place), saved: '' };
      entry.saved = placeText(entry);
      this.consumers.set(name, entry);
    }
  }

  /** On disk with the next commit; `events` are rows that it has to hear of although they came before it. */
  add(name: string, about: { note: string; since: number; live: number; events: readonly Range[] }): void {
    const { note, since, live, events } = about;
    this.consumers.set(name, {
      note,
      since,
      cursor: new Cursor({ history: [], events, live }),
      saved: '',
    });
    this.#forgotten.delete(name);
  }

  /** On disk with the next commit. */
  forget(name: string): void {
    if (this.consumers.delete(name)) this.#forgotten.add(name);
  }

  /** Goes on where `before`, of which this is a copy, stopped. */
  continueFrom(before: Places): void {
    for (const [name, entry] of before.consumers) this.consumers.set(name, entry);
    for (const name of this.consumers.keys()) if (!before.consumers.has(name)) this.forget(name);
  }

  /** Is anything not on disk yet? */
  get dirty(): boolean {
    if (this.#forgotten.size > 0) return true;
    for (const entry of this.consumers.values()) if (placeText(entry) !== entry.saved) return true;
    return false;
  }

  /** Does anybody still wait for telemetry that had to wait for a connection? */
  get backlog(): boolean {
    for (const { cursor } of this.consumers.values()) if (cursor.place().history.length > 0) return true;
    return false;
  }

  /** Rows that somebody still needs. */
  needed(): Needs {
    const all = [...this.consumers.values()].map(({ cursor }) => cursor.needs());
    return {
      telemetry: union(all.flatMap(({ telemetry }) => telemetry)),
      events: union(all.flatMap(({ events }) => events)),
    };
  }

  /** Inside the caller's transaction. */
  write(): void {
    this.#saving = [];
    for (const [name, entry] of this.consumers) {
      const text = placeText(entry);
      if (text === entry.saved) continue;
      const { history, events, live } = entry.cursor.place();
      const waiting = [JSON.stringify(history), JSON.stringify(events)] as const;
      this.#save.run(name, ...waiting, live, entry.note, entry.since);
      this.#saving.push([entry, text]);
    }
    for (const name of this.#forgotten) this.#delete.run(name);
  }

  /** The transaction of `write` is on disk. */
  committed(): void {
    for (const [entry, place] of this.#saving) entry.saved = place;
    this.#saving = [];
    this.#forgotten.clear();
  }
}

function placeText({ cursor, note }: Entry): string {
  return JSON.stringify([cursor.place(), note]);
}

/** What cannot be understood counts as not delivered: duplicates are allowed, loss is not. */
function rangesFrom(text: string, live: number): Range[] {
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch {
    return [[0, live]];
  }
  if (!Array.isArray(found)) return [[0, live]];
  return found.map((pair: unknown) => (Array.isArray(pair) ? [Number(pair[0]), Number(pair[1])] : [0, live]));
}
