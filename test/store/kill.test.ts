import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, watch } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { times } from '../support/long.ts';
import type { Readable } from 'node:stream';
import t from 'tap';
import { finishMove } from '../../src/store/file.ts';
import { openForWriting } from '../../src/store/open.ts';
import { bookRun, checkBooks, checkRecorded, emptyBooks } from './books.ts';
import { countTo, directory, opened } from './fixture.ts';

const ROUND = 1_000_000; // the samples of a round are numbered from here, so that no two rounds share one

const CACHE = mkdtempSync(join(tmpdir(), 'outbox-cache-'));
t.teardown(() => rmSync(CACHE, { recursive: true, force: true }));

function started(args: readonly string[]): ChildProcessByStdio<null, Readable, null> {
  return spawn(process.execPath, [join(import.meta.dirname, 'kill-child.ts'), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, NODE_OPTIONS: '', NODE_COMPILE_CACHE: CACHE },
  });
}

/** Runs the child and kills it after `after` milliseconds of work. Returns the file in which it says what is true. */
async function killed(file: string, round: number, after: number, more: readonly string[]): Promise<string> {
  const record = `${file}.said-${round}`;
  const child = started([file, record, `${round * ROUND}`, ...more]);
  child.stdout.once('data', () => setTimeout(() => child.kill('SIGKILL'), after));
  const signal = await new Promise((resolve) => child.once('close', (_status, by) => resolve(by)));
  if (signal !== 'SIGKILL') throw new Error('the child ended by itself');
  return record;
}

const PLAIN = { name: 'kill -9 at any moment loses nothing, repeats no number and leaves no hole', more: [] };
/** Killed while it moves into a copy, because somebody reads for long. */
const MOVE = { name: 'kill -9 while the file is replaced by its copy loses nothing', more: ['2', 'read'] };
const QUOTA = { name: 'kill -9 while the quota drops rows: every hole is told', more: ['1', 'noise'] };
/** Of each lane, of which there are six. */
const KILLS = times('KILLS', 6, 20);
t.setTimeout(120_000 + KILLS * 10_000);
const LONGEST_MS = 250;

const warm = started([join(CACHE, 'telemetry.db'), join(CACHE, 'said'), '0', '64', 'warm']);
await new Promise((resolve) => warm.once('close', resolve));

/** Amid one of the steps of a move, by the names that appear in the folder. */
async function killedMoving(file: string, round: number): Promise<string> {
  const record = `${file}.said-${round}`;
  const child = started([file, record, `${round * ROUND}`, ...MOVE.more]);
  const step = round % 2 === 0 ? 'telemetry.db.new' : 'telemetry.db.ready';
  const watcher = watch(dirname(file), (_event, name) => {
    if (name !== step) return;
    watcher.close();
    if (step.endsWith('ready')) child.kill('SIGKILL');
    else setTimeout(() => child.kill('SIGKILL'), Math.random() * 4);
  });
  const signal = await new Promise((resolve) => child.once('close', (_status, by) => resolve(by)));
  if (signal !== 'SIGKILL') throw new Error('the child ended by itself');
  return record;
}

t.jobs = 5; // most of the time is the start of the children
for (const [lane, { name, more }] of [PLAIN, PLAIN, PLAIN, PLAIN, QUOTA, MOVE].entries())
  t.test(`${name} (${lane + 1})`, { timeout: 80_000 + KILLS * 5_000 }, async (t) => {
    const file = join(directory(t), 'telemetry.db');
    const books = emptyBooks();
    for (const round of countTo(KILLS))
      if (more === MOVE.more) bookRun(books, await killedMoving(file, round));
      else bookRun(books, await killed(file, round, 5 + Math.random() * LONGEST_MS, more));
    finishMove(file); // as every start does: of a move that was cut short the copy counts
    const db = openForWriting(file, 64 * 1_048_576);
    t.equal(db.pragma('integrity_check', { simple: true }), 'ok');
    db.close();
    checkRecorded(t, file, books, ROUND);
    const outbox = await opened(t, file);
    const told = await checkBooks(t, outbox, books);
    t.ok(books.acknowledged.size > KILLS * 10);
    if (more !== MOVE.more)
      t.equal(told.size > 0, more === QUOTA.more, `${told.size} numbers were told as gaps`);
  });
