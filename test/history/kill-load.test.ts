import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { mebibytes } from '../../src/core/units.ts';
import { openForReading } from '../../src/store/open.ts';
import { recordedIn } from '../store/recorded.ts';
import { type Sample, bucketsIn, bucketsOf, differences, integrityOf, linesOf, rawIn } from './fixture.ts';
import { KILLS, LOADED, LOADED_OUTBOX, LOADED_POINTS, LOADED_SAMPLE_LOG, loadedScan } from './kill-load.ts';
import { killer } from './killed.ts';
import { databasesIn, linesOfLog, settle } from './settled.ts';

const LONGEST_MS = 1_500;
t.setTimeout(120_000 + KILLS * 6_000);

const { kill } = killer(t);

/** Files that may have what was recorded last. */
const NEWEST = 3;

interface Batch {
  readonly first: number;
  readonly count: number;
  /** Undefined where the child was killed before it knew. */
  there: boolean | undefined;
}

/** A data folder, and what is known of the scans that were recorded into it. */
class Subject {
  readonly folder: string;
  readonly batches = new Map<number, Batch>();
  readonly #said: string;

  constructor(folder: string) {
    this.folder = folder;
    this.#said = join(folder, 'said');
  }

  files(tier: string): string[] {
    return databasesIn(this.folder, tier);
  }

  /** Runs the child, kills it after `after` milliseconds of work, and finds out what became of what it did not know. */
  async killed(after: number, word: string): Promise<void> {
    const args = [this.folder, this.#said, `${this.#next()}`];
    await kill({ script: 'kill-load-child.ts', args, word, after });
    for (const line of readFileSync(this.#said, 'utf8').trim().split('\n')) {
      const [word, first = 0, count = 0] = line.split(' ').map((part, i) => (i === 0 ? part : Number(part)));
      const known = this.batches.get(Number(first)) ?? {
        ...{ first: Number(first), count: Number(count), there: undefined },
      };
      this.batches.set(known.first, known);
      if (word !== 'try') known.there = word === 'ack';
    }
    this.#findOut();
  }

  get samples(): Sample[] {
    return [...this.batches.values()].flatMap(({ first, count, there }) =>
      there === true ? Array.from({ length: count }, (_, k) => loadedScan(first + k)).flat() : [],
    );
  }

  #next(): number {
    return Math.max(0, ...[...this.batches.values()].map(({ first, count }) => first + count));
  }

  /** All of a batch, or nothing; its late samples may be in rollups only. */
  #findOut(): void {
    const open = [...this.batches.values()].filter(({ there }) => there === undefined);
    if (open.length === 0) return;
    const found = this.#newest();
    for (const batch of open) {
      const scans = Array.from({ length: batch.count }, (_, k) => loadedScan(batch.first + k)).flat();
      const lines = linesOf(
        scans.filter(({ time }) => time % 1_000 === 0),
        LOADED_POINTS,
      );
      const there = lines.filter((line) => found.has(line)).length;
      if (there > 0 && there < lines.length)
        throw new Error(`${there} of ${lines.length} samples of batch ${batch.first}`);
      batch.there = there > 0;
    }
  }

  /** What is in the log, and in the files that were written last. */
  #newest(): Set<string> {
    const files = this.files('raw').sort((a, b) => written(b) - written(a));
    const { samples } = recordedIn(join(this.folder, 'telemetry.db'));
    const inLog = linesOfLog(samples, LOADED_POINTS);
    return new Set([...inLog, ...rawIn({ files: () => files.slice(0, NEWEST) })]);
  }
}

/** When something was written into the file, or its log. */
function written(file: string): number {
  const times = [file, `${file}-wal`].map((path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0);
  return Math.max(...times);
}

t.test(
  'kill -9 under load, with raw files that go, late samples, a consumer and charts: nothing is lost or doubled',
  { timeout: 100_000 + KILLS * 6_000 },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'history-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    const subject = new Subject(folder);

    // Some when everything was recorded: then there is time to look at the quota, however slow the machine is.
    for (let kill = 1; kill <= KILLS; kill++)
      await subject.killed(Math.random() * LONGEST_MS, kill % 3 === 0 ? 'recorded' : 'ready');
    await settle(t, {
      folder,
      outbox: { points: LOADED_POINTS, limit: LOADED_OUTBOX, sampleLog: LOADED_SAMPLE_LOG },
      // No file goes while they are looked at.
      history: { ...LOADED, retention: { ...LOADED.retention, disk: mebibytes(1_000) } },
    });

    const { samples } = subject;
    t.ok(samples.length > KILLS * 1_000, `${samples.length} samples`);
    const lines = new Set(linesOf(samples, LOADED_POINTS));
    const raw = rawIn(subject);
    t.same(raw.filter((line) => !lines.has(line)).slice(0, 5), [], 'nothing from nowhere');
    t.same(raw.filter((line, i) => line === raw[i - 1]).slice(0, 5), [], 'nothing twice');
    const book = openForReading(join(folder, 'history.db'));
    const dropped = book.prepare<[], string>('SELECT tier FROM dropped').pluck().all();
    book.close();
    t.ok(dropped.includes('raw'), `${dropped.length} files were given up`);
    // What was recorded, given up as raw samples or not, is counted once. Minutes may be given up too; hours never.
    for (const tier of ['minute', 'hour'] as const) {
      const wrong = differences(bucketsIn(subject, tier), bucketsOf(samples, tier, LOADED_POINTS), {
        merged: true,
      });
      const gone = tier === 'minute' && dropped.includes('minute');
      t.same(wrong.filter((line) => !gone || !line.endsWith(': missing')).slice(0, 10), [], tier);
    }
    for (const file of ['raw', 'minute', 'hour'].flatMap((tier) => subject.files(tier)))
      t.equal(integrityOf(file), 'ok');
  },
);
