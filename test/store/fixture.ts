import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Batch, BatchBuilder } from '../../src/core/batch.ts';
import type { Facts, Log } from '../../src/core/log.ts';
import type { Consumer, Lane, Message, Outbox, Row } from '../../src/core/outbox.ts';
import type { SampleLog } from '../../src/core/sample-log.ts';
import { bytes, mebibytes, milliseconds } from '../../src/core/units.ts';
import { type OutboxOptions, openOutbox } from '../../src/store/outbox.ts';

// Each outbox starts a thread; without a cache it compiles the same files every time.
process.env['NODE_COMPILE_CACHE'] ??= join(import.meta.dirname, '../../node_modules/.cache/sluice');

/** Ten devices with ten points each; point p of device d is number 10 d + p. */
export const points = Array.from({ length: 100 }, (_, i) => ({
  device: `meter-${Math.floor(i / 10)}`,
  point: `voltage-${i % 10}`,
  unit: 'V',
}));

/** Sample k is a known function of k: its point is k modulo 100, its value k, its time k after the start of the test. */
export const START = 1_795_516_800_000;
export function batchOf(first: number, count: number): Batch {
  const builder = new BatchBuilder();
  for (let k = first; k < first + count; k++) builder.addNumber(k % 100, START + k, k);
  const batch = builder.take();
  if (batch === undefined) throw new Error('an empty batch');
  return batch;
}

/** Samples that do not compress: about `count` × 300 bytes on disk. */
export function noiseOf(first: number, count: number): Batch {
  const builder = new BatchBuilder();
  for (let k = first; k < first + count; k++) {
    builder.addText(k % 100, START + k, `${k} ${randomBytes(300).toString('base64')}`);
  }
  const batch = builder.take();
  if (batch === undefined) throw new Error('an empty batch');
  return batch;
}

export interface Told {
  readonly topic: string;
  readonly seq: number | undefined;
  /** The k of each sample. */
  readonly samples: readonly number[];
  readonly gap: { readonly from: number; readonly to: number; readonly reason: string } | undefined;
}

/** A message as the platform understands it. */
export function understood({ topic, payload }: Message): Told {
  const said: unknown = JSON.parse(Buffer.from(payload).toString());
  if (typeof said !== 'object' || said === null) throw new Error(`not an object on ${topic}`);
  const { seq, samples, gap } = said as {
    seq?: number;
    gap?: Told['gap'];
    samples?: { value: number | string }[];
  };
  return { topic, seq, gap, samples: (samples ?? []).map(({ value }) => Number.parseInt(`${value}`, 10)) };
}

/** Reads the lane to its end, acknowledging each row unless told otherwise. */
export async function drain(consumer: Consumer, lane: Lane, acknowledge = true): Promise<Row[]> {
  const all: Row[] = [];
  for (;;) {
    const rows = await consumer.read(lane, bytes(65_536));
    if (rows.length === 0) return all;
    for (const row of rows) {
      all.push(row);
      if (acknowledge) consumer.acknowledge(lane, row.id);
    }
  }
}

/** After a rewind: the events and gaps that waited, then the telemetry that did. */
export async function drainWaiting(consumer: Consumer): Promise<Row[]> {
  const events = await drain(consumer, 'live');
  return [...events, ...(await drain(consumer, 'history'))];
}

export function messagesIn(rows: readonly Row[]): Told[] {
  return rows.flatMap(({ messages }) => messages.map(understood));
}

export function seqsIn(rows: readonly Row[]): number[] {
  return messagesIn(rows).flatMap(({ seq }) => (seq === undefined ? [] : [seq]));
}

export function countTo(last: number, first = 1): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

/** A log that remembers. */
export function listeningLog(): Log & { readonly lines: { what: string; facts: Facts }[] } {
  const lines: { what: string; facts: Facts }[] = [];
  const take = (what: string, facts: Facts = {}): void => {
    lines.push({ what, facts });
  };
  return { lines, info: take, warn: take, error: take };
}

interface Teardown {
  teardown(after: () => unknown): void;
}

export function directory(t: Teardown): string {
  const path = mkdtempSync(join(tmpdir(), 'outbox-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Opens an outbox that the end of the test closes; `close` may be called before. */
export async function opened(
  t: Teardown,
  file: string,
  options: Partial<OutboxOptions> = {},
): Promise<Outbox & SampleLog> {
  const outbox = await openOutbox({
    file,
    points,
    limit: mebibytes(64),
    log: listeningLog(),
    commitEvery: milliseconds(10),
    ...options,
  });
  t.teardown(async () => outbox.close());
  return outbox;
}
