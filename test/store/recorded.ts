import { inflateSync } from 'node:zlib';
import { REASONS } from '../../src/core/quality.ts';
import { openForReading } from '../../src/store/open.ts';

export interface RecordedSample {
  /** Of the sample log. */
  readonly row: number;
  readonly series: number;
  readonly name: string;
  readonly time: number;
  readonly value: unknown;
  readonly quality: number;
  readonly reason: string;
}

export interface RecordedRow {
  readonly id: number;
  readonly kind: number;
  readonly time: number;
  readonly samples: number;
  readonly says: unknown;
}

export interface RecordedLog {
  readonly log: number;
  readonly rows: readonly RecordedRow[];
  readonly samples: readonly RecordedSample[];
  /** Rows of kind 1. */
  readonly outages: readonly unknown[];
  /** Rows of kind 2. */
  readonly starts: readonly unknown[];
}

/** What the sample log says, read by the sentences beside its table and by nothing of ours that writes or reads it. */
export function recordedIn(file: string): RecordedLog {
  const db = openForReading(file);
  try {
    const log = db.prepare<[], number>("SELECT value FROM meta WHERE key = 'log'").pluck().get() ?? 0;
    const names = new Map(
      db
        .prepare<[], Series>("SELECT id, device || '/' || point || ' ' || unit AS name FROM series")
        .all()
        .map(({ id, name }) => [id, name.trim()]),
    );
    const rows = db
      .prepare<[], Omit<RecordedRow, 'says'> & Body>('SELECT * FROM sample_log ORDER BY id')
      .all()
      .map(({ len, body, ...row }) => ({ ...row, says: said(body, len) }));
    return {
      log,
      rows,
      samples: rows.flatMap((row) => (row.kind === 0 ? samplesOf(row, names) : [])),
      outages: rows.flatMap(({ kind, says }) => (kind === 1 ? [says] : [])),
      starts: rows.flatMap(({ kind, says }) => (kind === 2 ? [says] : [])),
    };
  } finally {
    db.close();
  }
}

interface Series {
  readonly id: number;
  readonly name: string;
}

interface Body {
  readonly len: number;
  readonly body: Buffer;
}

function said(body: Buffer, length: number): unknown {
  const text = body.length === length ? body : inflateSync(body);
  if (text.length !== length) throw new Error(`${text.length} bytes where ${length} were stored`);
  return JSON.parse(text.toString());
}

function samplesOf({ id, time, says }: RecordedRow, names: ReadonlyMap<number, string>): RecordedSample[] {
  return list(says).flatMap((run) => {
    const [offset, first, elements] = list(run);
    return list(elements).map((element, i) => {
      const [value, quality, reason] = Array.isArray(element) ? list(element) : [element, 0, 0];
      const series = Number(first) + i;
      const at = { row: id, series, name: names.get(series) ?? '', time: time + Number(offset) };
      return { ...at, value, quality: Number(quality), reason: REASONS[Number(reason)] ?? '?' };
    });
  });
}

function list(found: unknown): readonly unknown[] {
  if (!Array.isArray(found)) throw new Error(`${JSON.stringify(found)} is no list`);
  return found;
}
