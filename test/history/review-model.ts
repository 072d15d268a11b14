import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { PointValue } from '../../src/core/batch.ts';
import type { Tier } from '../../src/core/history.ts';
import { silentLog } from '../../src/core/log.ts';
import { BAD, GOOD } from '../../src/core/quality.ts';
import { bytes, days, epochMs, milliseconds } from '../../src/core/units.ts';
import { type GatewayHistory, openHistory } from '../../src/store/history/history.ts';
import { openOutbox } from '../../src/store/outbox.ts';
import { randomOf } from '../bench/plant-signals.ts';
import { until } from '../support/wait.ts';
import { bad, batchOf, good, type Row, rowsOf, uncertain } from '../telemetry/rows.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const POINTS = 4;
const RETENTION = { raw: days(3), minute: days(10), hour: days(60), disk: bytes(2e9) };
/** A segment is filed at so many samples; the head takes no more than twice as many. */
const HEAD_SAMPLES = 3_000;

type Numbers = Readonly<
  Record<'count' | 'good' | 'bad' | 'min' | 'max' | 'mean' | 'first' | 'last' | 'changes', number>
>;

/**
 * A store and a history as a gateway has them, with small thresholds, and beside them a list of everything that was
 * recorded. What the history answers is compared with what the list says.
 */
export class Model {
  readonly now = Date.now();
  /** Raw samples are kept from here on; what is older goes into rollups only. */
  readonly rawFrom = Math.floor((this.now - 3 * DAY) / DAY) * DAY;
  readonly #folder = mkdtempSync(join(tmpdir(), 'model-'));
  readonly #random: () => number;
  readonly #rows: Row[] = [];
  readonly #taken = new Set<string>();
  readonly #clocks = Array.from({ length: POINTS }, () => this.now - 2 * DAY);
  #open:
    | { readonly outbox: Awaited<ReturnType<typeof openOutbox>>; readonly history: GatewayHistory }
    | undefined;

  constructor(t: Test, seed: number) {
    this.#random = randomOf(seed);
    t.teardown(async () => {
      await this.stop();
      rmSync(this.#folder, { recursive: true, force: true });
    });
  }

  get history(): GatewayHistory {
    if (this.#open === undefined) throw new Error('not started');
    return this.#open.history;
  }

  async start(): Promise<void> {
    const limit = bytes(40_000_000);
    const points = Array.from({ length: POINTS }, (_, i) => ({
      device: `device-${i}`,
      point: 'value',
      every: milliseconds(1_000),
    }));
    const file = join(this.#folder, 'telemetry.db');
    const outbox = await openOutbox({ file, limit, points, log: silentLog, commitEvery: milliseconds(5) });
    const history = await openHistory({
      folder: this.#folder,
      retention: RETENTION,
      outbox: limit,
      sampleLog: outbox,
      log: silentLog,
      thresholds: {
        headSamples: HEAD_SAMPLES,
        tick: milliseconds(20),
        grace: milliseconds(0),
        look: milliseconds(200),
        partBytes: bytes(200_000),
      },
    });
    this.#open = { outbox, history };
  }

  async stop(): Promise<void> {
    const open = this.#open;
    this.#open = undefined;
    await open?.history.close();
    await open?.outbox.close();
  }

  upTo(below: number): number {
    return Math.floor(this.#random() * below);
  }

  /** A batch as drivers deliver it: mostly on time, some late, some very late, some ahead. */
  async record(): Promise<void> {
    const rows: Row[] = [];
    for (let i = this.upTo(3) === 0 ? this.upTo(1_500) : this.upTo(100); i > 0; i--) {
      const point = this.upTo(POINTS);
      const time = this.#timeFor(point);
      const key = `${point} ${time}`;
      // Of samples of the same time nobody remembers which one came first.
      if (this.#taken.has(key)) continue;
      this.#taken.add(key);
      rows.push(this.#sampleAt(point, time));
    }
    if (rows.length === 0) return;
    await this.#open?.outbox.record(batchOf(rows));
    this.#rows.push(...rows);
  }

  /** The head has room, so that an answer has everything that is committed. */
  async room(): Promise<void> {
    await until('room in the head', async () => {
      await this.history.names([]);
      return (await this.history.state()).samplesWaiting < 1.9 * HEAD_SAMPLES;
    });
  }

  /** Every raw sample of every point in [from, to), here and in the list. */
  async samples(from: number, to: number): Promise<{ readonly found: Row[][]; readonly expected: Row[][] }> {
    const { names, batches } = this.history.samples({ points: ['*/*'], ...span(from, to) });
    const found: Row[][] = Array.from({ length: POINTS }, () => []);
    for await (const batch of batches)
      for (const row of rowsOf(batch)) {
        const point = Number(names[row.point]?.device.split('-')[1]);
        if (row.time >= this.rawFrom) found[point]?.push({ ...row, point });
      }
    return { found, expected: found.map((_, point) => this.#of(point, Math.max(from, this.rawFrom), to)) };
  }

  /** Buckets of every point that begin in [from, to), here and in the list; `from` says where the list begins to count. */
  async chart(
    from: number,
    to: number,
    ask: { readonly width: number; readonly tier?: Tier; readonly since: number },
  ) {
    const { width, tier, since } = ask;
    const query = { points: ['*/*'], ...span(from, to), width, ...(tier === undefined ? {} : { tier }) };
    const found: unknown[] = [];
    const expected: unknown[] = [];
    for (const trace of await this.history.history(query)) {
      const point = Number(trace.name.device.split('-')[1]);
      const { step, starts } = trace;
      const begin = Math.max(Math.floor(from / step) * step, Math.ceil(since / step) * step);
      const end = Math.ceil(to / step) * step;
      if (starts.length > width) throw new Error(`${starts.length} buckets where ${width} were asked for`);
      const mine: [number, Numbers][] = [];
      for (const [i, start] of starts.entries()) if (start >= begin) mine.push([start, numbersOf(trace, i)]);
      found.push(mine);
      const byBucket = Map.groupBy(this.#of(point, begin, end), ({ time }) => Math.floor(time / step) * step);
      expected.push([...byBucket].map(([start, rows]) => [start, naive(rows)]));
    }
    return { found, expected };
  }

  #of(point: number, from: number, to: number): Row[] {
    return this.#rows
      .filter((row) => row.point === point && row.time >= from && row.time < to)
      .sort((a, b) => a.time - b.time);
  }

  #timeFor(point: number): number {
    const kind = this.upTo(100);
    if (kind < 3) return this.now - this.upTo(6 * DAY);
    if (kind === 3) return this.now + this.upTo(20 * HOUR);
    if (kind === 4) return this.now - 3 * DAY - this.upTo(6 * DAY);
    let time = (this.#clocks[point] ?? 0) + ([1_000, 1_000, 1_000, 5_000, 60_000][this.upTo(5)] ?? 0);
    if (this.upTo(200) === 0) time += this.upTo(6 * HOUR);
    if (time > this.now) time = this.now - this.upTo(2 * DAY);
    this.#clocks[point] = time;
    return time;
  }

  #sampleAt(point: number, time: number): Row {
    const kind = this.upTo(10);
    if (kind === 0) return bad(point, time);
    const values: readonly PointValue[] = [
      this.upTo(10_000) / 100,
      this.upTo(1e6) * 1e6,
      this.upTo(2) === 0,
      'abc'.charAt(this.upTo(3)),
    ];
    const value = values[kind < 6 ? 0 : kind - 6] ?? 0;
    return this.upTo(10) === 0 ? uncertain(point, time, value) : good(point, time, value);
  }
}

function span(from: number, to: number) {
  return { from: epochMs(from), to: epochMs(to) };
}

type Trace = Awaited<ReturnType<GatewayHistory['history']>>[number];

function numbersOf(trace: Trace, i: number): Numbers {
  return {
    count: trace.counts[i] ?? -1,
    good: trace.goods[i] ?? -1,
    bad: trace.bads[i] ?? -1,
    min: trace.mins[i] ?? -1,
    max: trace.maxes[i] ?? -1,
    mean: short(trace.means[i] ?? -1),
    first: trace.firsts[i] ?? -1,
    last: trace.lasts[i] ?? -1,
    changes: trace.changes[i] ?? -1,
  };
}

/** From the samples of one bucket, in the order of their times, without any of the code that is tested. */
function naive(rows: readonly Row[]): Numbers {
  const values = rows.filter(({ quality }) => quality !== BAD).map(({ value }) => value);
  const numbers = values.filter((value) => typeof value !== 'string').map(Number);
  return {
    count: rows.length,
    good: rows.filter(({ quality }) => quality === GOOD).length,
    bad: rows.length - values.length,
    min: numbers.length === 0 ? Number.NaN : Math.min(...numbers),
    max: numbers.length === 0 ? Number.NaN : Math.max(...numbers),
    mean: short(numbers.reduce((sum, value) => sum + value, 0) / numbers.length),
    first: asNumber(values[0]),
    last: asNumber(values.at(-1)),
    changes: values.slice(1).filter((value, i) => value !== values[i]).length,
  };
}

function asNumber(value: PointValue | null | undefined): number {
  return value === undefined || typeof value === 'string' ? Number.NaN : Number(value);
}

/** Sums are kept to 15 digits, and rounding depends on the order. */
function short(value: number): number {
  return Number(value.toPrecision(9));
}
