import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { History } from '../../src/core/history.ts';
import type { Outbox } from '../../src/core/outbox.ts';
import type { PointName } from '../../src/core/point.ts';
import { QUALITIES, REASONS } from '../../src/core/quality.ts';
import { epochMs } from '../../src/core/units.ts';
import { drain } from '../store/fixture.ts';
import { type Sample, sampleOf, wrongBuckets } from './recomputed.ts';
import { judge, numberOf, points, sampleAt } from './workload.ts';

/** What a process said before the power failed. */
export interface Said {
  /** Samples that were handed over, whatever became of them. */
  readonly take: Set<number>;
  /** Samples whose append to the outbox resolved. */
  readonly sent: Set<number>;
  /** Samples whose recording resolved. */
  readonly kept: Set<number>;
}

export function nothingSaid(): Said {
  return { take: new Set(), sent: new Set(), kept: new Set() };
}

export function copyOf({ take, sent, kept }: Said): Said {
  return { take: new Set(take), sent: new Set(sent), kept: new Set(kept) };
}

/** Lines of marks: what was said, of which first sample on, and how many. */
export function listen(said: Said, text: string): void {
  for (const [, word, first, count] of text.matchAll(/^(take|sent|kept) (\d+) (\d+)$/gm)) {
    const list = word === 'take' ? said.take : word === 'sent' ? said.sent : said.kept;
    for (let k = Number(first); k < Number(first) + Number(count); k++) list.add(k);
  }
}

const MAX_EXAMPLES = 3;

/** How many there are, and a few of them; nothing where there are none. */
export function some(what: string, wrong: readonly unknown[]): string[] {
  return wrong.length === 0
    ? []
    : [`${what}: ${wrong.length}, as ${wrong.slice(0, MAX_EXAMPLES).join(', ')}`];
}

const message = z.object({
  seq: z.number().optional(),
  gap: z.unknown().optional(),
  samples: z
    .array(
      z.object({
        point: z.string(),
        time: z.number(),
        value: z.union([z.number(), z.boolean(), z.string(), z.null()]),
        quality: z.string(),
        reason: z.string().default(''),
      }),
    )
    .default([]),
});
const numbers = new Map(points.map(({ device, point }, i) => [`${device}/${point}`, i]));

/** What is wrong with the outbox: messages that are missing, came twice, or hold what nobody sent. */
export async function judgeOutbox(outbox: Outbox, said: Said, start: number): Promise<string[]> {
  const upstream = await outbox.consumer('upstream');
  await upstream.rewind();
  const rows = [...(await drain(upstream, 'live', false)), ...(await drain(upstream, 'history', false))];
  const came = new Set<number>();
  const twice: number[] = [];
  const strange: string[] = [];
  const seqs: number[] = [];
  for (const { topic, payload } of rows.flatMap(({ messages }) => messages)) {
    const { seq, gap, samples } = message.parse(JSON.parse(Buffer.from(payload).toString()));
    if (seq !== undefined) seqs.push(seq);
    if (gap !== undefined) strange.push(JSON.stringify(gap));
    for (const { point, ...sample } of samples) {
      const index = numbers.get(`${topic.slice(topic.indexOf('/') + 1)}/${point}`) ?? Number.NaN;
      const k = numberOf(index, sample.time, start);
      const { value, quality, reason } = sampleAt(k, start);
      if (came.has(k)) twice.push(k);
      came.add(k);
      const same =
        sample.value === value && sample.quality === QUALITIES[quality] && sample.reason === REASONS[reason];
      if (!same || !said.take.has(k)) strange.push(JSON.stringify({ k, ...sample }));
    }
  }
  const { nextSeq } = await outbox.state();
  seqs.sort((a, b) => a - b);
  // A cut between the reservation of the first numbers and the first commit: a gap of which nothing was used.
  if (said.sent.size === 0 && seqs.length === 1 && /"store missing"/.test(strange[0] ?? '')) return [];
  return [
    ...some('acknowledged and not in the outbox', [...said.sent.difference(came)]),
    ...some('twice in the outbox', twice),
    ...some('in the outbox and never sent', strange),
    ...some(
      'numbers of messages that are not 1, 2, 3, …',
      seqs.filter((seq, i) => seq !== i + 1),
    ),
    ...(seqs.length === nextSeq - 1 ? [] : [`the next number is ${nextSeq} after ${seqs.length} messages`]),
  ];
}

/** What SQLite's own shell finds wrong with the databases below the folder. Close them first. */
export function judgeFiles(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.db'))
    .flatMap((name) => {
      const { stdout, stderr } = spawnSync('sqlite3', [join(folder, name), 'PRAGMA integrity_check'], {
        encoding: 'utf8',
      });
      return stdout.trim() === 'ok' ? [] : [`${name}: ${stdout.slice(0, 200)}${stderr.slice(0, 200)}`];
    });
}

const TIERS = ['minute', 'hour'] as const;
const WHOLE_HOURS_MS = 3_600_000;

/** What is wrong with the history: samples that are missing, doubled or strange, and rollups that are not theirs. */
export async function judgeHistory(history: History, said: Said, start: number): Promise<string[]> {
  const came = new Map<number, number>();
  const strange: string[] = [];
  const series = new Map<string, Sample[]>();
  const from = epochMs(Math.floor(start / WHOLE_HOURS_MS) * WHOLE_HOURS_MS);
  const to = epochMs(Math.ceil(Date.now() / WHOLE_HOURS_MS) * WHOLE_HOURS_MS);
  const all = { points: ['*/*'], from, to };
  const stream = history.samples(all);
  for await (const batch of stream.batches)
    for (let i = 0; i < batch.count; i++) {
      const name = keyOf(stream.names[batch.points[i] ?? 0]);
      const sample = sampleOf(batch, i);
      const k = numberOf(numbers.get(name) ?? Number.NaN, sample.time, start);
      const complaint = judge(batch, i, k, start);
      if (complaint !== undefined || !said.take.has(k)) strange.push(complaint ?? `nobody sent ${k}`);
      came.set(k, (came.get(k) ?? 0) + 1);
      const list = series.get(name);
      if (list === undefined) series.set(name, [sample]);
      else list.push(sample);
    }
  const wrong: string[] = [];
  for (const tier of TIERS)
    for (const trace of await history.history({ ...all, width: Number.MAX_SAFE_INTEGER, tier })) {
      const samples = series.get(keyOf(trace.name)) ?? [];
      wrong.push(...wrongBuckets(trace, samples).map((sentence) => `${keyOf(trace.name)}: ${sentence}`));
    }
  const doubled = [...came].filter(([, times]) => times > 1);
  return [
    ...some(
      'acknowledged and not in the history',
      [...said.kept].filter((k) => !came.has(k)),
    ),
    ...some(
      'more than once in the history',
      doubled.map(([k]) => k),
    ),
    ...some('in the history and not as it was sent', strange),
    ...some('rollups that are not those of the samples', wrong),
  ];
}

function keyOf(name: PointName | undefined): string {
  return `${name?.device}/${name?.point}`;
}
