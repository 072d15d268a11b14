import { mkdirSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { z } from 'zod';
import { epochMs } from '../../src/core/units.ts';
import { Histogram, type Spread } from './histogram.ts';
import { Load } from './history-load.ts';
import { DAY_MS, type OpenStore, openStore, writeYear } from './history-store.ts';
import { type ThreadSpent, threadSpent, threadTimes } from './threads.ts';

export const ingestSetup = z.object({
  job: z.literal('ingest'),
  folder: z.string(),
  points: z.number(),
  seconds: z.number(),
  /** Hand the batches to nobody: what making them costs. */
  alone: z.boolean(),
});

const RATE = 100_000; // samples a second
const BATCH_MS = 100; // the pipeline takes what is there ten times a second
const CHART_MS = 200;
const CHARTED = 100; // points with a year behind them
const WARM_UP_SECONDS = 3;
const WIDTH = 1_000;

export interface Ingested {
  readonly seconds: number;
  readonly samples: number;
  readonly filed: number;
  readonly unrecorded: number;
  /** Batches that were handed over more than a period too late, or not on disk after a second. */
  readonly late: number;
  readonly batches: number;
  readonly record: Spread;
  readonly handover: Spread;
  readonly year: Spread;
  readonly day: Spread;
  readonly cpu: ThreadSpent;
  /** Resident at the end. */
  readonly rss: number;
}

/** 100,000 samples a second, while somebody looks at charts. */
export async function ingest({
  folder,
  points,
  seconds,
  alone,
}: z.infer<typeof ingestSetup>): Promise<Ingested> {
  const load = new Load(points);
  mkdirSync(folder, { recursive: true });
  if (!alone) writeYear(folder, load.points.slice(0, CHARTED));
  const store = alone ? undefined : await openStore({ folder, points: load.points });
  const run = new Run(load, store);
  await run.for(WARM_UP_SECONDS);
  run.forget();
  const [began, before] = [performance.now(), threadTimes()];
  await run.for(seconds);
  const [ended, after] = [performance.now(), threadTimes()];
  const result = await run.result();
  await store?.close();
  return {
    ...result,
    seconds: (ended - began) / 1_000,
    cpu: threadSpent(before, after),
    rss: process.memoryUsage.rss(),
  };
}

class Run {
  readonly #load: Load;
  readonly #store: OpenStore | undefined;
  readonly #ticks: number;
  #samples = 0;
  #batches = 0;
  #late = 0;
  #record = new Histogram();
  #handover = new Histogram();
  #year = new Histogram();
  #day = new Histogram();
  #stopped = false;

  constructor(load: Load, store: OpenStore | undefined) {
    this.#load = load;
    this.#store = store;
    this.#ticks = (RATE * BATCH_MS) / 1_000 / load.points.length;
  }

  async for(seconds: number): Promise<void> {
    this.#stopped = false;
    const charts = this.#charts();
    const start = Date.now();
    for (let n = 1; n <= (seconds * 1_000) / BATCH_MS; n++) {
      const due = start + n * BATCH_MS;
      await wait(Math.max(0, due - Date.now()));
      this.#batch(due);
    }
    this.#stopped = true;
    await charts;
  }

  forget(): void {
    this.#samples = 0;
    this.#batches = 0;
    this.#late = 0;
    this.#record = new Histogram();
    this.#handover = new Histogram();
    this.#year = new Histogram();
    this.#day = new Histogram();
  }

  async result(): Promise<Omit<Ingested, 'seconds' | 'cpu' | 'rss'>> {
    const state = await this.#store?.history.state();
    return {
      samples: this.#samples,
      filed: state?.samplesFiled ?? 0,
      unrecorded: (await this.#store?.outbox.state())?.samplesUnrecorded ?? 0,
      late: this.#late,
      batches: this.#batches,
      record: this.#record.spread(),
      handover: this.#handover.spread(),
      year: this.#year.spread(),
      day: this.#day.spread(),
    };
  }

  #batch(due: number): void {
    const behind = Date.now() - due;
    const times = Array.from(
      { length: this.#ticks },
      (_, i) => due - BATCH_MS + (i * BATCH_MS) / this.#ticks,
    );
    const batch = this.#load.scans(times);
    this.#batches++;
    this.#samples += batch.count;
    this.#handover.add(behind);
    if (behind > BATCH_MS) this.#late++;
    if (this.#store === undefined) return;
    const began = performance.now();
    const settled = (): void => {
      const took = performance.now() - began;
      this.#record.add(took);
      if (took > 1_000) this.#late++;
    };
    this.#store.outbox.record(batch).then(settled, (error: unknown) => {
      process.stderr.write(`${String(error)}\n`);
      this.#late++;
    });
  }

  /** Somebody looks at a year and at a day, one after the other. */
  async #charts(): Promise<void> {
    const history = this.#store?.history;
    if (history === undefined) return;
    for (let n = 0; !this.#stopped; n++) {
      const next = performance.now() + CHART_MS;
      const { device, point } = this.#load.points[(n * 7) % CHARTED] ?? { device: '', point: '' };
      const to = Date.now();
      const days = n % 2 === 0 ? 365 : 1;
      const began = performance.now();
      await history.history({
        points: [`${device}/${point}`],
        from: epochMs(to - days * DAY_MS),
        to: epochMs(to),
        width: WIDTH,
      });
      (n % 2 === 0 ? this.#year : this.#day).add(performance.now() - began);
      await wait(Math.max(0, next - performance.now()));
    }
  }
}
