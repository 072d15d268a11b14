import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deflateSync, inflateSync } from 'node:zlib';
import type { Clock } from '../../src/core/clock.ts';
import type { Facts, Log } from '../../src/core/log.ts';
import type { PointName } from '../../src/core/point.ts';
import { BAD, GOOD } from '../../src/core/quality.ts';
import { bytes, days, epochMs, mebibytes, milliseconds, minutes, seconds } from '../../src/core/units.ts';
import type { Stage } from '../../src/store/history/filing.ts';
import { Historian, type HistorianOptions } from '../../src/store/history/historian.ts';
import type { Retention } from '../../src/store/history/protocol.ts';
import type { Thresholds } from '../../src/store/history/thresholds.ts';
import { type Database, isFull, openForReading, openForWriting } from '../../src/store/open.ts';
import { prepareSchema } from '../../src/store/schema.ts';

export const SECOND = 1_000;
export const MINUTE = 60_000;
export const HOUR = 3_600_000;
export const DAY = 24 * HOUR;
/** Noon of a Thursday, UTC. */
export const NOON = Date.UTC(2026, 10, 26, 12);

export const NAMES: readonly PointName[] = [
  { device: 'meter-1', point: 'power', unit: 'W' },
  { device: 'meter-1', point: 'energy', unit: 'kWh' },
  { device: 'press-1', point: 'breaker' },
  { device: 'press-1', point: 'state' },
];

/** A sample as a test says it; `value` null is a bad one. */
export interface Sample {
  /** Index into `NAMES`. */
  readonly point: number;
  readonly time: number;
  readonly value: number | boolean | string | null;
  readonly quality?: number;
}

/** Sample k of a point is a known function of k, of every form. */
export function sampleOf(point: number, k: number, time: number): Sample {
  if (k % 17 === 5) return { point, time, value: null, quality: BAD };
  switch (point % 4) {
    case 0:
      return {
        point,
        time,
        value: Math.round(1_000 * Math.sin(k / 20)) / 10,
        quality: k % 13 === 3 ? 1 : GOOD,
      };
    case 1:
      return { point, time, value: 4_000_000_000_000 + k };
    case 2:
      return { point, time, value: k % 7 < 3 };
    default:
      return { point, time, value: ['idle', 'running', 'a "quoted" fault'][Math.floor(k / 5) % 3] ?? '' };
  }
}

/** Every point each `step` from `from` on, `count` times. */
export function regular(from: number, count: number, step = SECOND): Sample[] {
  return Array.from({ length: count }, (_, k) =>
    NAMES.map((_, p) => sampleOf(p, k + from / step, from + k * step)),
  ).flat();
}

/** Wall clock and elapsed time apart: a clock is set, time is not. */
export class WoundClock implements Clock {
  wall: number;
  passed = 0;

  constructor(wall = NOON) {
    this.wall = wall;
  }

  now = () => epochMs(this.wall);
  elapsed = () => milliseconds(this.passed);
  sleep = async (): Promise<void> => {};

  advance(by: number): void {
    this.wall += by;
    this.passed += by;
  }
}

/** A sample log written by hand, as the store's thread would. */
export class HandLog {
  readonly file: string;
  #db: Database;
  /** The number of the newest row; no number comes twice. */
  #head = 0;
  readonly #ids = new Map<number, number>();

  constructor(folder: string) {
    this.file = join(folder, 'telemetry.db');
    this.#db = openForWriting(this.file, 64_000_000);
    prepareSchema(this.#db);
    this.#head = this.#db.prepare<[], number>('SELECT max(id) FROM sample_log').pluck().get() ?? 0;
  }

  get identity(): number {
    return this.#db.prepare<[], number>("SELECT value FROM meta WHERE key = 'log'").pluck().get() ?? 0;
  }

  get rows(): number {
    return this.#db.prepare<[], number>('SELECT count(*) FROM sample_log').pluck().get() ?? 0;
  }

  /** One row of samples, committed at `time`; returns its number. */
  add(samples: readonly Sample[], time: number): number {
    const runs = samples.map(({ point, time: at, value, quality = GOOD }) => {
      const element =
        quality === GOOD ? value : [quality === BAD ? null : value, quality, quality === GOOD ? 0 : 1];
      return [at - time, this.#series(point), [element]];
    });
    return this.row(0, time, samples.length, JSON.stringify(runs));
  }

  row(kind: number, time: number, samples: number, text: string): number {
    const body = deflateSync(text);
    const stored = body.length < Buffer.byteLength(text) ? body : Buffer.from(text);
    this.#db
      .prepare('INSERT INTO sample_log(id, kind, time, samples, len, body) VALUES (?, ?, ?, ?, ?, ?)')
      .run(++this.#head, kind, time, samples, Buffer.byteLength(text), stored);
    return this.#head;
  }

  start(time: number): number {
    const recorded = NAMES.map((_, point) => [this.#series(point), SECOND]);
    return this.row(2, time, 0, JSON.stringify(recorded));
  }

  /** On a full disk later, as the store's thread does. */
  forget(row: number): void {
    try {
      this.#db.prepare('DELETE FROM sample_log WHERE id <= ?').run(row);
    } catch (error) {
      if (!isFull(error)) throw error;
    }
  }

  exec(sql: string): void {
    this.#db.exec(sql);
  }

  /** As after damage: another file, another log, other numbers of series; those of rows go on. */
  replace(): void {
    this.close();
    for (const end of ['', '-wal', '-shm']) rmSync(this.file + end, { force: true });
    this.#db = openForWriting(this.file, 64_000_000);
    prepareSchema(this.#db);
    this.#head += 1_000;
    this.#ids.clear();
    for (let point = NAMES.length; point-- > 0; ) this.#series(point);
  }

  close(): void {
    this.#db.close();
  }

  open(): void {
    this.#db = openForWriting(this.file, 64_000_000);
  }

  #series(point: number): number {
    const known = this.#ids.get(point);
    if (known !== undefined) return known;
    const name = NAMES[point];
    const id = Number(
      this.#db
        .prepare('INSERT INTO series(device, point, unit) VALUES (?, ?, ?)')
        .run(name?.device, name?.point, name?.unit ?? '').lastInsertRowid,
    );
    this.#ids.set(point, id);
    return id;
  }
}

export class Crash extends Error {}

interface Teardown {
  teardown(after: () => unknown): void;
}

const SMALL: Thresholds = {
  headSamples: 1_000_000,
  logBytes: mebibytes(32),
  partBytes: mebibytes(64),
  spareBytes: bytes(0),
  tick: seconds(1),
  grace: minutes(1),
  look: seconds(10),
};

export const WEEK: Retention = { raw: days(7), minute: days(90), hour: days(1825), disk: mebibytes(1_000) };

/** A data folder with a log written by hand, a clock wound by hand, and a historian that goes step by step. */
export class Site {
  readonly folder: string;
  readonly clock: WoundClock;
  readonly log: HandLog;
  readonly said: { readonly level: string; readonly what: string; readonly facts: Facts }[] = [];
  readonly events: { readonly kind: string; readonly subject: string; readonly facts: Facts }[] = [];
  readonly allowed: number[] = [];
  /** Everything that was committed to the log. */
  readonly truth: Sample[] = [];
  filed = 0;
  /** Does the log forget what is filed, as the store's thread does with its next commit? */
  forgetful = true;
  /** Called when a stage is reached. */
  onStage: (stage: Stage) => void = () => {};
  /** What is tried on it finds room: a word of a full disk is old. */
  hasRoom = false;
  /** When this stage is reached, this is thrown once, as by a file. */
  failAt: { readonly stage: Stage; readonly error: Error } | undefined;
  /** The n-th time that this stage is reached ends it. */
  crashAt: { readonly stage: Stage; times: number } | undefined;
  historian: Historian;
  /** For the next start. */
  retention: Retention;
  readonly #options: Partial<HistorianOptions>;

  constructor(
    t: Teardown,
    options: Partial<HistorianOptions> & {
      readonly small?: Partial<Thresholds>;
      readonly wall?: number;
    } = {},
  ) {
    this.clock = new WoundClock(options.wall);
    this.folder = options.folder ?? mkdtempSync(join(tmpdir(), 'history-'));
    this.log = new HandLog(this.folder);
    this.retention = options.retention ?? WEEK;
    this.#options = { thresholds: { ...SMALL, ...options.small }, ...options };
    this.historian = this.started();
    t.teardown(() => {
      this.historian.stop();
      this.historian.close();
      this.log.close();
      if (options.folder === undefined) rmSync(this.folder, { recursive: true, force: true });
    });
  }

  /** Samples committed together, now or at `time`. */
  commit(samples: readonly Sample[], time = this.clock.wall): number {
    this.truth.push(...samples);
    return this.log.add(samples, time);
  }

  /** Steps until nothing is due. */
  async settle(): Promise<void> {
    let more = true;
    for (let steps = 0; more; steps++) {
      more = await this.historian.step();
      if (this.forgetful) this.log.forget(this.filed);
      if (steps > 10_000) throw new Error('it never settles');
    }
  }

  /** The hour ends, and what it brought is filed and rolled up. */
  async nextHour(): Promise<void> {
    const end = (Math.floor(this.clock.wall / HOUR) + 1) * HOUR;
    this.clock.advance(end - this.clock.wall + 2 * MINUTE);
    await this.settle();
  }

  /** The process ends and another one starts. */
  restart(): void {
    this.historian.stop();
    this.historian.close();
    this.historian = this.started();
  }

  /** Steps until that stage is reached, which has to happen, and starts again. */
  async crash(stage: Stage, times = 1, meanwhile: () => void = () => {}): Promise<void> {
    this.crashAt = { stage, times };
    let crashed = false;
    try {
      await this.settle();
    } catch (error) {
      if (!(error instanceof Crash)) throw error;
      crashed = true;
    }
    if (!crashed) throw new Error(`"${stage}" was not reached ${times} times`);
    this.crashAt = undefined;
    meanwhile();
    this.restart();
  }

  files(tier: string): string[] {
    const path = join(this.folder, tier);
    if (!existsSync(path)) return [];
    return readdirSync(path)
      .filter((name) => name.endsWith('.db'))
      .sort()
      .map((name) => join(path, name));
  }

  /** Another historian on the same folder. */
  started(): Historian {
    return new Historian({
      folder: this.folder,
      outbox: mebibytes(100),
      thresholds: SMALL,
      clock: this.clock,
      log: this.#log(),
      filed: (row) => {
        this.filed = row;
      },
      allow: (outbox) => this.allowed.push(outbox),
      takes: () => this.hasRoom,
      onEvent: (kind, subject, facts) => this.events.push({ kind, subject, facts }),
      reached: (stage) => {
        const { crashAt, failAt } = this;
        this.onStage(stage);
        if (failAt?.stage === stage) {
          this.failAt = undefined;
          throw failAt.error;
        }
        if (crashAt?.stage !== stage) return;
        crashAt.times--;
        if (crashAt.times === 0) throw new Crash(stage);
      },
      ...this.#options,
      retention: this.retention,
    });
  }

  #log(): Log {
    const take =
      (level: string) =>
      (what: string, facts: Facts = {}): void => {
        this.said.push({ level, what, facts });
      };
    return { info: take('info'), warn: take('warn'), error: take('error') };
  }
}

/** A sample as a line, by which two lists of them are compared. */
export function lineOf(name: PointName, time: number, value: unknown, quality: number): string {
  return `${name.device}/${name.point} ${name.unit ?? ''} ${time} ${JSON.stringify(value)} ${quality}`;
}

export function linesOf(samples: readonly Sample[], names = NAMES): string[] {
  return samples
    .map(({ point, time, value, quality = GOOD }) =>
      lineOf(names[point] ?? { device: '', point: '' }, time, value, quality),
    )
    .sort();
}

interface ChunkRow {
  readonly device: string;
  readonly point: string;
  readonly unit: string;
  readonly t0: number;
  readonly step: number;
  readonly len: number;
  readonly body: Buffer;
}

/** Every sample in the raw files, read by the sentences of the format and nothing of ours. */
export function rawIn(site: { files(tier: string): string[] }): string[] {
  const lines: string[] = [];
  for (const file of site.files('raw')) {
    const db = openForReading(file);
    const chunks = db
      .prepare<[], ChunkRow>(
        'SELECT device, point, unit, t0, step, len, body FROM chunk JOIN series ON series.id = chunk.series',
      )
      .all();
    db.close();
    for (const chunk of chunks) lines.push(...linesOfChunk(chunk));
  }
  return lines.sort();
}

function linesOfChunk({ device, point, unit, t0, step, len, body }: ChunkRow): string[] {
  const name = unit === '' ? { device, point } : { device, point, unit };
  const elements: unknown = JSON.parse((body.length === len ? body : inflateSync(body)).toString());
  if (!Array.isArray(elements)) throw new Error('a chunk is an array');
  return elements.flatMap((element: unknown, k) => {
    if (!Array.isArray(element)) return lineOf(name, t0 + k * step, element, GOOD);
    if (element.length === 0) return [];
    const [off, value, quality = GOOD] = element.map((part: unknown) => part);
    return lineOf(name, t0 + k * step + Number(off), value, Number(quality));
  });
}

/** A bucket as the view shows it. */
export interface Bucket {
  readonly key: string;
  readonly count: number;
  readonly good: number;
  readonly min: number | null;
  readonly max: number | null;
  readonly mean: number | null;
  readonly deviation: number | null;
  readonly first: unknown;
  readonly last: unknown;
  readonly changes: number;
}

function isBucket(row: unknown): row is Bucket {
  return typeof row === 'object' && row !== null && 'key' in row && 'count' in row;
}

/** The rollups of a tier as the stock shell shows them. */
export function bucketsIn(
  site: { files(tier: string): string[] },
  tier: 'minute' | 'hour',
): Map<string, Bucket> {
  const found = new Map<string, Bucket>();
  for (const file of site.files(tier)) {
    const sql = `SELECT device || '/' || point || ' ' || unit || ' ' || time AS key, count, good, min, max, mean, deviation, first, last, changes FROM ${tier}`;
    const text = execFileSync('sqlite3', ['-json', '-readonly', file, sql], {
      encoding: 'utf8',
      maxBuffer: 1e9,
    });
    const rows: unknown = text === '' ? [] : JSON.parse(text);
    if (!Array.isArray(rows)) throw new Error('no rows');
    for (const row of rows.filter(isBucket)) {
      if (found.has(row.key)) throw new Error(`two buckets of ${row.key}`);
      found.set(row.key, row);
    }
  }
  return found;
}

/** The same computed anew from all samples, in the plainest way. */
export function bucketsOf(
  samples: readonly Sample[],
  tier: 'minute' | 'hour',
  names = NAMES,
): Map<string, Bucket> {
  const width = tier === 'minute' ? MINUTE : HOUR;
  const groups = Map.groupBy(samples, ({ point, time }) => {
    const name = names[point];
    const start = new Date(Math.floor(time / width) * width).toISOString().slice(0, 19).replace('T', ' ');
    return `${name?.device}/${name?.point} ${name?.unit ?? ''} ${start}`;
  });
  return new Map([...groups].map(([key, group]) => [key, bucketOf(key, group)]));
}

/** Booleans are 0 and 1 in the view. */
function shown(value: unknown): unknown {
  return typeof value === 'boolean' ? Number(value) : (value ?? null);
}

function bucketOf(key: string, group: readonly Sample[]): Bucket {
  const sorted = group.toSorted((a, b) => a.time - b.time);
  const said = sorted.flatMap(({ value, quality = GOOD }) =>
    quality === BAD || value === null ? [] : [value],
  );
  const numbers = said.flatMap((value) => (typeof value === 'string' ? [] : [Number(value)]));
  const mean = numbers.length === 0 ? null : numbers.reduce((a, b) => a + b, 0) / numbers.length;
  const squares = numbers.reduce((sum, value) => sum + (value - (mean ?? 0)) ** 2, 0);
  return {
    key,
    count: group.length,
    good: group.filter(({ quality = GOOD }) => quality === GOOD).length / group.length,
    min: numbers.length === 0 ? null : Math.min(...numbers),
    max: numbers.length === 0 ? null : Math.max(...numbers),
    mean,
    deviation: numbers.length === 0 ? null : Math.sqrt(squares / numbers.length),
    first: shown(said[0]),
    last: shown(said.at(-1)),
    changes: said.filter((value, i) => i > 0 && value !== said[i - 1]).length,
  };
}

/**
 * What is wrong with the rollups of a tier; empty where nothing is. Where late samples were merged, `changes` is not
 * exact, and the deviation of a large counter loses digits, because sums are kept with 15.
 */
export function differences(
  found: ReadonlyMap<string, Bucket>,
  wanted: ReadonlyMap<string, Bucket>,
  options: { readonly merged?: boolean } = {},
): string[] {
  const wrong: string[] = [];
  for (const key of found.keys()) if (!wanted.has(key)) wrong.push(`${key}: nobody sent this`);
  for (const [key, want] of wanted) {
    const have = found.get(key);
    if (have === undefined) {
      wrong.push(`${key}: missing`);
      continue;
    }
    const exact: (keyof Bucket)[] = ['count', 'first', 'last'];
    if (options.merged !== true) exact.push('changes');
    for (const field of exact)
      if (have[field] !== want[field])
        wrong.push(`${key}: ${field} is ${String(have[field])}, not ${String(want[field])}`);
    for (const field of ['good', 'min', 'max', 'mean', 'deviation'] as const)
      if (!near(have[field], want[field], options.merged === true && field === 'deviation' ? 1e-4 : 1e-6))
        wrong.push(`${key}: ${field} is ${have[field]}, not ${want[field]}`);
  }
  return wrong;
}

function near(a: number | null, b: number | null, share: number): boolean {
  if (a === null || b === null) return a === b;
  return Math.abs(a - b) <= share * Math.max(1e-3, Math.abs(b));
}

export function integrityOf(file: string): string {
  return execFileSync('sqlite3', ['-readonly', file, 'PRAGMA integrity_check'], { encoding: 'utf8' }).trim();
}

export { bytes };
