import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import t from 'tap';
import type { Message } from '../../src/core/outbox.ts';
import { openForWriting } from '../../src/store/open.ts';
import { countTo, directory, drainWaiting, messagesIn, opened } from './fixture.ts';

const ROUND = 1_000_000; // the samples of a round are numbered from here, so that no two rounds share one

interface Books {
  /** Samples whose append resolved. */
  readonly acknowledged: Set<number>;
  /** Content by number, from whoever said it. */
  readonly content: Map<number, string>;
  readonly gaps: { readonly from: number; readonly to: number }[];
  /** Numbers that came with two different contents. */
  readonly reused: number[];
  /** Events whose append resolved. */
  readonly said: Set<number>;
  /** Events as they were handed out, by run of the child. */
  readonly heard: number[][];
}

const CACHE = mkdtempSync(join(tmpdir(), 'outbox-cache-'));
t.teardown(() => rmSync(CACHE, { recursive: true, force: true }));

function started(args: readonly string[]): ChildProcessByStdio<null, Readable, null> {
  return spawn(process.execPath, [join(import.meta.dirname, 'kill-child.ts'), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, NODE_OPTIONS: '', NODE_COMPILE_CACHE: CACHE },
  });
}

/** Runs the child, kills it after `after` milliseconds of work, and books what it said. */
async function killed(
  file: string,
  round: number,
  after: number,
  more: readonly string[],
  books: Books,
): Promise<void> {
  const record = `${file}.said-${round}`;
  const child = started([file, record, `${round * ROUND}`, ...more]);
  child.stdout.once('data', () => setTimeout(() => child.kill('SIGKILL'), after));
  const signal = await new Promise((resolve) => child.once('close', (_status, by) => resolve(by)));
  if (signal !== 'SIGKILL') throw new Error('the child ended by itself');
  const heard: number[] = [];
  books.heard.push(heard);
  for (const line of readFileSync(record, 'utf8').split('\n').slice(0, -1)) {
    const [word, a = '', b = '', c = ''] = line.split(' ');
    if (word === 'ack')
      for (const k of countTo(Number(a) + Number(b) - 1, Number(a))) books.acknowledged.add(k);
    if (word === 'got') book(books, Number(a), b, c);
    if (word === 'said') books.said.add(Number(a));
    if (word === 'heard') heard.push(Number(a));
  }
}

const isAlarm = ({ topic }: Message): boolean => topic === 'event/alarm';
const numberOf = ({ payload }: Message): number => Number(/\d+/.exec(Buffer.from(payload).toString()));

function book({ content, gaps, reused }: Books, seq: number, topic: string, said: string): void {
  const gap = /^gap:(\d+)-(\d+)$/.exec(said);
  if (gap !== null) gaps.push({ from: Number(gap[1]), to: Number(gap[2]) });
  const text = `${topic.replace(/^[a-z]+/, '')} ${said}`;
  if (content.has(seq) && content.get(seq) !== text) reused.push(seq);
  content.set(seq, text);
}

/** Events that came before an older one that nobody had heard yet, or out of order within one run. */
function overtaking({ heard, said }: Books): number[] {
  const known = new Set(heard.flat());
  const all = [...new Set([...known, ...said])].sort((a, b) => a - b);
  const before = new Map(all.map((number, i) => [number, all[i - 1]]));
  const earlier = new Set<number>();
  const wrong: number[] = [];
  for (const run of heard)
    for (const [i, number] of run.entries()) {
      const previous = before.get(number);
      if (previous !== undefined && !earlier.has(previous)) wrong.push(number);
      if (i > 0 && number <= (run[i - 1] ?? 0)) wrong.push(number);
      earlier.add(number);
    }
  return wrong;
}

const PLAIN = { name: 'kill -9 at any moment loses nothing, repeats no number and leaves no hole', more: [] };
const QUOTA = { name: 'kill -9 while the quota drops rows: every hole is told', more: ['1', 'noise'] };
const KILLS = 13;
const LONGEST_MS = 250;

const warm = started([join(CACHE, 'telemetry.db'), join(CACHE, 'said'), '0', '64', 'warm']);
await new Promise((resolve) => warm.once('close', resolve));

t.jobs = 5; // most of the time is the start of the children
for (const [lane, { name, more }] of [PLAIN, PLAIN, PLAIN, PLAIN, QUOTA].entries())
  t.test(`${name} (${lane + 1})`, { timeout: 110_000 }, async (t) => {
    const file = join(directory(t), 'telemetry.db');
    const books: Books = {
      acknowledged: new Set(),
      content: new Map(),
      gaps: [],
      reused: [],
      said: new Set(),
      heard: [],
    };

    for (const round of countTo(KILLS))
      await killed(file, round, 5 + Math.random() * LONGEST_MS, more, books);
    const db = openForWriting(file, 64 * 1_048_576);
    t.equal(db.pragma('integrity_check', { simple: true }), 'ok');
    db.close();
    const outbox = await opened(t, file);
    for (const consumer of ['upstream', 'absent']) {
      const reader = await outbox.consumer(consumer);
      await reader.rewind();
      const rows = await drainWaiting(reader);
      const alarms = rows
        .flatMap(({ messages }) => messages)
        .filter(isAlarm)
        .map(numberOf);
      if (consumer === 'upstream') books.heard.push(alarms);
      else
        t.same(
          alarms,
          [...new Set(books.heard.flat())].sort((a, b) => a - b),
          'every event, in order',
        );
      const telemetry = rows.map((row) => ({ ...row, messages: row.messages.filter((m) => !isAlarm(m)) }));
      for (const { seq, topic, samples, gap } of messagesIn(telemetry))
        book(books, seq ?? 0, topic, gap === undefined ? samples.join(',') : `gap:${gap.from}-${gap.to}`);
    }

    const { nextSeq } = await outbox.state();
    const told = new Set(books.gaps.flatMap(({ from, to }) => countTo(to, from)));
    const samples = [...books.content.values()].flatMap((text) => text.split(' ')[1]?.split(',') ?? []);
    const numbers = samples.filter((text) => !text.startsWith('gap')).map(Number);
    const seen = new Set(numbers);
    const holes = countTo(nextSeq - 1).filter((seq) => !books.content.has(seq) && !told.has(seq));
    t.same(overtaking(books), [], 'no event was overtaken by a newer one');
    const heard = new Set(books.heard.flat());
    const unheard = [...books.said].filter((number) => !heard.has(number));
    t.same(unheard, [], `each of ${books.said.size} events was heard`);
    t.same(books.reused, [], 'no number came with two contents');
    t.same(holes, [], 'no hole that is not told');
    t.equal(numbers.length, seen.size, 'no sample has two numbers');
    t.ok(books.acknowledged.size > KILLS * 10, `${books.acknowledged.size} samples in ${nextSeq} messages`);
    if (more === QUOTA.more) {
      t.ok(told.size > 0, `${told.size} numbers were told as gaps`);
      return;
    }
    t.same(
      [...books.acknowledged].filter((k) => !seen.has(k)),
      [],
      'nothing acknowledged is missing',
    );
    t.same(books.gaps, []);
  });
