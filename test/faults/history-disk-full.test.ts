import { rmSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { SluiceError } from '../../src/core/errors.ts';
import type { Facts } from '../../src/core/log.ts';
import type { Outbox } from '../../src/core/outbox.ts';
import type { SampleLog } from '../../src/core/sample-log.ts';
import { epochMs, milliseconds } from '../../src/core/units.ts';
import type { GatewayHistory } from '../../src/store/history/history.ts';
import { directory } from '../store/fixture.ts';
import { cannotMount, fillDisk, mountSmallDisk } from '../support/small-disk.ts';
import { until, untilStuck } from '../support/wait.ts';
import { openAgain, openHistoryAgain } from './again.ts';
import { judgeFiles } from './verdict.ts';
import { PERIOD_MS, POINTS, batchOf, judge, numberOf, points, sampleAt } from './workload.ts';

// Store and history together, in their threads, on a disk of a few megabytes that somebody else fills at any moment.

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** Some weeks ago: every hour has ended, and there is room for many days. */
const START = Math.floor((Date.now() - 40 * DAY_MS) / PERIOD_MS) * PERIOD_MS;
const BATCH = 200;
/** Seconds on a machine that has nothing else to do; a loaded one may take its time as long as something moves. */
const TIMEOUT_MS = 600_000;
/** More than the disk of the second test holds, in any form. */
const MOST_SAMPLES = 1_500_000;

/** The store writes meanwhile, and may take the room first. */
function fill(disk: string, left: number): string {
  try {
    return fillDisk(disk, left);
  } catch (error) {
    if (!(error instanceof Error) || !error.message.startsWith('ENOSPC')) throw error;
    return join(disk, 'stone');
  }
}

/** A gateway's store on a small disk, and what it was told. */
class Site {
  readonly disk: string;
  readonly events: { readonly kind: string; readonly subject: string; readonly facts: Facts }[] = [];
  readonly lines: string[] = [];
  readonly kept = new Set<number>();
  readonly refused = new Set<number>();
  outbox: (Outbox & SampleLog) | undefined;
  history: GatewayHistory | undefined;
  /** Batches that are neither kept nor refused yet. */
  unsettled = 0;
  #next = 0;
  #pending: Promise<void>[] = [];

  constructor(t: Test, megabytes: number) {
    this.disk = join(directory(t), 'disk');
    const mounted = mountSmallDisk(this.disk, megabytes);
    t.teardown(() => mounted.unmount());
    t.teardown(async () => this.close());
  }

  async open(): Promise<void> {
    const take = (what: string): void => void this.lines.push(what);
    const log = { info: take, warn: take, error: take };
    const onFull = (): void => this.history?.shed();
    const onEvent = (kind: string, subject: string, facts: Facts): void =>
      void this.events.push({ kind, subject, facts });
    this.outbox = await openAgain(this.disk, milliseconds(5), log, onFull);
    this.history = await openHistoryAgain(this.disk, this.outbox, { headSamples: 2_000, log, onEvent });
  }

  /** Hands so many batches over; what becomes of them is seen by `settled`. */
  record(batches: number): void {
    for (let i = 0; i < batches; i++) this.#pending.push(this.#recordOne());
  }

  async settled(): Promise<void> {
    await Promise.all(this.#pending);
    this.#pending = [];
  }

  /** Neither store nor history has any trouble, and everything is filed. */
  async well(): Promise<void> {
    await untilStuck(
      'store and history are well',
      async () => {
        const [outbox, history] = [await this.outbox?.state(), await this.history?.state()];
        return outbox?.failing === null && history?.failing === null;
      },
      { figure: async () => this.figures() },
    );
  }

  /** The historian has come along. */
  async filed(): Promise<void> {
    await untilStuck(
      'most is filed',
      async () => ((await this.history?.state())?.samplesWaiting ?? 0) < 2_000,
      {
        figure: async () => this.figures(),
      },
    );
  }

  /** What changes as long as there is progress. */
  async figures(): Promise<unknown> {
    const { samplesFiled, filesDropped, oldestMinute, oldestRaw } = (await this.history?.state()) ?? {};
    const { commits } = (await this.outbox?.state()) ?? {};
    return { samplesFiled, filesDropped, oldestMinute, oldestRaw, commits, kept: this.kept.size };
  }

  async close(): Promise<void> {
    await this.history?.close();
    await this.outbox?.close();
    this.history = undefined;
    this.outbox = undefined;
  }

  async #recordOne(): Promise<void> {
    const first = this.#next;
    this.#next += BATCH;
    let into = this.kept;
    this.unsettled++;
    try {
      await this.outbox?.record(batchOf(first, BATCH, START));
    } catch (error) {
      if (!(error instanceof SluiceError) || error.code !== 'OUTBOX_FULL') throw error;
      into = this.refused;
    }
    this.unsettled--;
    for (let k = first; k < first + BATCH; k++) into.add(k);
  }
}

const numbers = new Map(points.map(({ device, point }, i) => [`${device}/${point}`, i]));

interface Wrongs {
  readonly hours: readonly string[];
  readonly raw: readonly string[];
}

/** How many samples of each point and hour there are in hours, against what was kept; and what raw says wrongly. */
async function wrongs(site: Site): Promise<Wrongs> {
  const { history } = site;
  if (history === undefined) throw new Error('the history is closed');
  const all = {
    points: ['*/*'],
    from: epochMs(Math.floor(START / HOUR_MS) * HOUR_MS),
    to: epochMs(Date.now()),
  };
  const should = new Map<string, number>();
  for (const k of site.kept) {
    const hour = Math.floor(sampleAt(k, START).time / HOUR_MS) * HOUR_MS;
    const key = `${k % POINTS} ${hour}`;
    should.set(key, (should.get(key) ?? 0) + 1);
  }
  const hours: string[] = [];
  for (const trace of await history.history({ ...all, width: Number.MAX_SAFE_INTEGER, tier: 'hour' }))
    for (const [i, start] of trace.starts.entries()) {
      const key = `${numbers.get(`${trace.name.device}/${trace.name.point}`)} ${start}`;
      const [is, wanted] = [trace.counts[i], should.get(key) ?? 0];
      if (is !== wanted) hours.push(`${key}: ${is} and not ${wanted}`);
      should.delete(key);
    }
  for (const [key, count] of should) hours.push(`${key}: none and not ${count}`);

  const raw: string[] = [];
  const came = new Set<number>();
  const stream = history.samples(all);
  for await (const batch of stream.batches)
    for (let i = 0; i < batch.count; i++) {
      const name = stream.names[batch.points[i] ?? 0];
      const point = numbers.get(`${name?.device}/${name?.point}`) ?? Number.NaN;
      const k = numberOf(point, batch.times[i] ?? Number.NaN, START);
      const complaint = judge(batch, i, k, START);
      if (complaint !== undefined) raw.push(complaint);
      if (came.has(k)) raw.push(`${k} twice`);
      if (!site.kept.has(k)) raw.push(`${k} was refused`);
      came.add(k);
    }
  return { hours, raw };
}

const skip = cannotMount();

t.test(
  'a disk that is full again and again, at any stage, costs raw samples at most, and everything goes on',
  { skip, timeout: TIMEOUT_MS },
  async (t) => {
    const site = new Site(t, 12);
    await site.open();

    for (let round = 0; round < 10; round++) {
      const stone = fill(site.disk, round * 40_000);
      site.record(12);
      if (round % 2 === 0) await until('somebody has trouble, or none', async () => troubled(site));
      if (round === 5) {
        await site.close();
        await site.settled();
        await site.open();
      }
      rmSync(stone);
      await site.settled();
      await site.well();
    }
    site.record(5);
    await site.settled();
    await site.filed();

    const { hours, raw } = await wrongs(site);
    t.same(hours.slice(0, 5), [], `${hours.length} hours are not what was kept`);
    t.same(raw.slice(0, 5), [], `${raw.length} raw samples are not what was sent`);
    t.ok(site.kept.size > 10_000, `${site.kept.size} samples were kept, ${site.refused.size} refused`);
    await site.close();
    t.same(judgeFiles(site.disk), []);
  },
);

/** Somebody has met the full disk, or all that was handed over is on it. */
async function troubled(site: Site): Promise<boolean> {
  const [outbox, history] = [await site.outbox?.state(), await site.history?.state()];
  return (outbox?.failing ?? null) !== null || (history?.failing ?? null) !== null || site.unsettled === 0;
}

t.test(
  'a disk that the history fills loses its oldest raw files and goes on; the hours have everything',
  { skip, timeout: TIMEOUT_MS },
  async (t) => {
    const site = new Site(t, 6);
    await site.open();

    await untilStuck(
      'raw is given up',
      async () => {
        site.record(20);
        await site.settled();
        await site.filed();
        return site.kept.size > MOST_SAMPLES || ((await site.history?.state())?.filesDropped ?? 0) > 1;
      },
      { figure: async () => site.figures() },
    );
    site.record(20);
    await site.settled();
    await site.well();

    const dropped = site.events.filter(({ kind }) => kind === 'history-shed').map(({ subject }) => subject);
    t.equal(dropped[0], 'raw', `raw goes first: ${dropped.join()}`);
    t.notOk(dropped.includes('hour'));
    t.equal(site.refused.size, 0, 'and nothing was refused');
    const { hours, raw } = await wrongs(site);
    t.same(hours.slice(0, 5), [], `${hours.length} hours are not what was kept`);
    t.same(raw.slice(0, 5), [], `${raw.length} raw samples are not what was sent`);
  },
);
