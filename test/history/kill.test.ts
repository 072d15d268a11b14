import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import t, { type Test } from 'tap';
import { mebibytes } from '../../src/core/units.ts';
import { openForReading } from '../../src/store/open.ts';
import { recordedIn } from '../store/recorded.ts';
import { times } from '../support/long.ts';
import {
  DAY,
  type Sample,
  bucketsIn,
  bucketsOf,
  differences,
  integrityOf,
  linesOf,
  rawIn,
} from './fixture.ts';
import { killer } from './killed.ts';
import { databasesIn, linesOfLog, settle } from './settled.ts';
import { KILL_POINTS, RETENTION, SMALL, scan } from './kill-scans.ts';

const KILLS = times('KILLS', 12, 100);
t.setTimeout(120_000 + KILLS * 6_000);
const LONGEST_MS = 400;
const CHECK_EVERY = 10;

const { kill, warm } = killer(t);

/** A data folder, and what is known of the scans that were recorded into it. */
class Subject {
  readonly folder: string;
  readonly #said: string;

  constructor(folder: string) {
    this.folder = folder;
    this.#said = join(folder, 'said');
  }

  files(tier: string): string[] {
    return databasesIn(this.folder, tier);
  }

  /** Runs the child and kills it after `after` milliseconds of work. */
  async killed(after: number): Promise<void> {
    const args = [this.folder, this.#said, `${this.#next()}`];
    await kill({ script: 'kill-child.ts', args, after });
  }

  /** Batches as first scan and number of scans, by whether they were acknowledged. */
  batches(): Map<number, { readonly count: number; acknowledged: boolean }> {
    const batches = new Map<number, { readonly count: number; acknowledged: boolean }>();
    for (const line of this.#lines()) {
      const [word, first = 0, count = 0] = line.split(' ').map((part, i) => (i === 0 ? part : Number(part)));
      batches.set(Number(first), { count: Number(count), acknowledged: word === 'ack' });
    }
    return batches;
  }

  #next(): number {
    const last = [...this.batches()].at(-1);
    return last === undefined ? 0 : last[0] + last[1].count;
  }

  #lines(): string[] {
    try {
      return readFileSync(this.#said, 'utf8').trim().split('\n');
    } catch {
      return [];
    }
  }
}

/** The samples of acknowledged batches, and of those others that are there as a whole. */
function wanted(t: Test, subject: Subject, found: ReadonlySet<string>): Sample[] {
  const samples: Sample[] = [];
  for (const [first, { count, acknowledged }] of subject.batches()) {
    const batch = Array.from({ length: count }, (_, k) => scan(first + k)).flat();
    const there = linesOf(batch, KILL_POINTS).filter((line) => found.has(line)).length;
    if (acknowledged || there > 0) samples.push(...batch);
    if (!acknowledged && there > 0 && there < batch.length)
      t.fail(`${there} of ${batch.length} samples of a batch`);
  }
  return samples;
}

/** Samples in the raw files, and those of the log that the files of their day do not have yet by their marks. */
function everywhere(subject: Subject): string[] {
  const { log, samples } = recordedIn(join(subject.folder, 'telemetry.db'));
  const marks = new Map<string, number>();
  for (const file of subject.files('raw')) {
    const day = basename(file).slice(0, 10);
    const db = openForReading(file);
    const row = db.prepare<[number], number>('SELECT row FROM filed WHERE log = ?').pluck().get(log) ?? 0;
    db.close();
    marks.set(day, Math.max(row, marks.get(day) ?? 0));
  }
  const unfiled = samples.filter(
    ({ row, time }) =>
      row > (marks.get(new Date(Math.floor(time / DAY) * DAY).toISOString().slice(0, 10)) ?? 0),
  );
  return [...rawIn(subject), ...linesOfLog(unfiled, KILL_POINTS)].sort();
}

/** Each once, whether it is in a file or in the log. */
function check(t: Test, subject: Subject): Sample[] {
  const found = everywhere(subject);
  const samples = wanted(t, subject, new Set(found));
  const lines = linesOf(samples, KILL_POINTS);
  const same = found.length === lines.length && found.every((line, i) => line === lines[i]);
  t.ok(same, `${found.length} samples are there, each once`);
  if (!same) {
    const [have, want] = [new Set(found), new Set(lines)];
    t.same(lines.filter((line) => !have.has(line)).slice(0, 5), [], 'lost');
    t.same(found.filter((line) => !want.has(line)).slice(0, 5), [], 'from nowhere');
    t.same(found.filter((line, i) => line === found[i - 1]).slice(0, 5), [], 'doubled');
  }
  return samples;
}

t.test(
  'kill -9 at any moment loses no sample, doubles none, and rollups follow from them',
  { timeout: 100_000 + KILLS * 6_000 },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'history-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    await warm('kill-child.ts', join(folder, 'warm'), join(folder, 'warm-said'), '0', 'warm');
    const subject = new Subject(folder);

    for (let kill = 1; kill <= KILLS; kill++) {
      await subject.killed(5 + Math.random() * LONGEST_MS);
      if (kill % CHECK_EVERY === 0) check(t, subject);
    }
    const samples = check(t, subject);
    await settle(t, {
      folder,
      outbox: { points: KILL_POINTS, limit: mebibytes(64) },
      history: { retention: RETENTION, thresholds: SMALL },
    });

    t.ok(samples.length > KILLS * 500, `${samples.length} samples`);
    const raw = rawIn(subject);
    const lines = linesOf(samples, KILL_POINTS);
    t.ok(
      raw.length === lines.length && raw.every((line, i) => line === lines[i]),
      'all are in raw files, each once',
    );
    for (const tier of ['minute', 'hour'] as const)
      t.same(
        differences(bucketsIn(subject, tier), bucketsOf(samples, tier, KILL_POINTS)).slice(0, 10),
        [],
        tier,
      );
    for (const file of ['raw', 'minute', 'hour'].flatMap((tier) => subject.files(tier)))
      t.equal(integrityOf(file), 'ok');
  },
);
