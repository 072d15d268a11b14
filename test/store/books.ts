import { readFileSync } from 'node:fs';
import type { Test } from 'tap';
import type { Message, Outbox } from '../../src/core/outbox.ts';
import { countTo, drainWaiting, messagesIn } from './fixture.ts';
import { recordedIn } from './recorded.ts';

/** What a run of kill-child.ts said, over several runs. */
export interface Books {
  /** Samples whose append resolved. */
  readonly acknowledged: Set<number>;
  /** Samples whose record resolved. */
  readonly recorded: Set<number>;
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

export function emptyBooks(): Books {
  return {
    acknowledged: new Set(),
    recorded: new Set(),
    content: new Map(),
    gaps: [],
    reused: [],
    said: new Set(),
    heard: [],
  };
}

/** Books what one run of the child wrote into `record`, up to its `length` in bytes. */
export function bookRun(books: Books, record: string, length?: number): void {
  const heard: number[] = [];
  books.heard.push(heard);
  for (const line of readFileSync(record).subarray(0, length).toString().split('\n').slice(0, -1)) {
    const [word, a = '', b = '', c = ''] = line.split(' ');
    if (word === 'ack')
      for (const k of countTo(Number(a) + Number(b) - 1, Number(a))) books.acknowledged.add(k);
    if (word === 'recorded')
      for (const k of countTo(Number(a) + Number(b) - 1, Number(a))) books.recorded.add(k);
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

/**
 * Reads the sample log and compares it with what the runs said: nothing that was recorded is missing, nothing is there
 * twice, and each run is there from its first sample on without a hole.
 */
export function checkRecorded(t: Test, file: string, { recorded }: Books, round: number): void {
  const { samples, starts } = recordedIn(file);
  const found = samples.map(({ value }) => Number.parseInt(String(value), 10));
  const known = new Set(found);
  t.same(
    [...recorded].filter((k) => !known.has(k)),
    [],
    `each of ${recorded.size} samples that were recorded is in the log`,
  );
  t.equal(found.length, known.size, 'none is there twice');
  t.same(
    found.filter((k) => k % round > 0 && !known.has(k - 1)),
    [],
    'and none without the one before',
  );
  t.ok(starts.length > 1, `${starts.length} starts`);
}

/**
 * Drains what the runs left behind and compares it with what they said: nothing acknowledged is missing, nothing came
 * twice with other content, no hole, no event out of order. `told` numbers may be missing where rows were dropped.
 */
export async function checkBooks(t: Test, outbox: Outbox, books: Books): Promise<Set<number>> {
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
  t.comment(`${books.acknowledged.size} samples in ${nextSeq} messages`);
  const missing = [...books.acknowledged].filter((k) => !seen.has(k));
  if (told.size === 0) t.same(missing, [], 'nothing acknowledged is missing');
  return told;
}
