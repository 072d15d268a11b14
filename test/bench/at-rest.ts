import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BatchBuilder } from '../../src/core/batch.ts';
import { epochMs, mebibytes } from '../../src/core/units.ts';
import { fileAt } from '../../src/store/history/files.ts';
import { RawFile } from '../../src/store/history/raw-file.ts';
import { sortedOrder } from '../../src/telemetry/chunk.ts';
import { gorillaEncoded } from './gorilla.ts';
import { type PlantSignal, SIGNAL_KINDS, plantSignals, randomOf } from './plant-signals.ts';
import { ROW_TABLES, type RowTable, Rows } from './rows.ts';

const DAY = Date.UTC(2026, 10, 22);
const SECONDS = 3_600; // an hour
const POINTS = 100;

/** Bytes per sample. */
export interface AtRest {
  readonly kind: string;
  /** The whole file, sealed. */
  readonly ours: number;
  readonly gorilla: number;
  readonly rows: Readonly<Record<RowTable, number>>;
}

/** Every kind by itself and the mix of a plant: a hundred points at 1 Hz, so many hours of a day, hour by hour. */
export function atRest(hours: number): AtRest[] {
  const folder = mkdtempSync(join(tmpdir(), 'at-rest-'));
  try {
    const alone = SIGNAL_KINDS.map((kind) => {
      const signals = (): PlantSignal[] =>
        Array.from({ length: POINTS }, (_, i) => ({ kind, next: kind.start(randomOf(i + 1)) }));
      return measured(folder, kind.name, hours, signals);
    });
    return [...alone, measured(folder, 'mix of a plant', hours, () => plantSignals(POINTS))];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function measured(folder: string, kind: string, hours: number, signals: () => PlantSignal[]): AtRest {
  return {
    kind,
    ours: ours(folder, hours, signals()),
    gorilla: gorilla(hours, signals()),
    rows: {
      'rowid and index': rows(folder, signals(), 'rowid and index'),
      'without rowid': rows(folder, signals(), 'without rowid'),
    },
  };
}

/** Calls `each` hour by hour with a scan of all points a second, in the order in which they come. */
function everyHour(
  hours: number,
  signals: readonly PlantSignal[],
  each: (builder: BatchBuilder) => void,
): void {
  const builder = new BatchBuilder();
  for (let second = 0; second < hours * SECONDS; second++) {
    for (const [i, { kind, next }] of signals.entries()) {
      const [value, time] = [next(), DAY + second * 1_000];
      if (kind.form === 'boolean') builder.addBoolean(i, time, value !== 0);
      else builder.addNumber(i, time, value);
    }
    if ((second + 1) % SECONDS > 0) continue;
    each(builder);
    builder.clear();
  }
}

function ours(folder: string, hours: number, signals: readonly PlantSignal[]): number {
  const at = fileAt(folder, 'raw', epochMs(DAY));
  const file = RawFile.forWriting(at, mebibytes(256));
  everyHour(hours, signals, (builder) => {
    const batch = builder.peek();
    const { order, runs } = sortedOrder(batch);
    file.begin();
    for (const { series, from, to } of runs) {
      const kind = signals[series]?.kind;
      file.add(
        { device: `device-${series}`, point: kind?.name ?? '', unit: kind?.unit },
        batch,
        order,
        from,
        to,
      );
    }
    file.commit();
  });
  for (const { hour, upTo } of file.unrolled()) file.setRolled(hour, upTo);
  if (!file.seal()) throw new Error('somebody reads it');
  return taken(at.path) / (hours * SECONDS * signals.length);
}

/** Blocks of an hour, nothing else: no index, no file. What comes as a float32 is one, which makes it shorter. */
function gorilla(hours: number, signals: readonly PlantSignal[]): number {
  let bytes = 0;
  for (const { kind, next } of signals)
    for (let hour = 0; hour < hours; hour++) {
      const times = Float64Array.from({ length: SECONDS }, (_, k) => DAY + (hour * SECONDS + k) * 1_000);
      const values = Float64Array.from(times, () => (kind.float32 ? Math.fround(next()) : next()));
      bytes += gorillaEncoded(times, values).length;
    }
  return bytes / (hours * SECONDS * signals.length);
}

/** An hour is enough: every row takes the same. */
function rows(folder: string, signals: readonly PlantSignal[], table: RowTable): number {
  const path = join(folder, 'rows.db');
  const store = new Rows(path, table);
  everyHour(1, signals, (builder) => {
    store.begin();
    store.add(builder.peek());
    store.commit();
  });
  store.close();
  return taken(path) / (SECONDS * signals.length);
}

/** The size of the file, which is removed. */
function taken(path: string): number {
  const { size } = statSync(path);
  rmSync(path);
  return size;
}

if (import.meta.main) {
  const tables = Object.keys(ROW_TABLES);
  console.log(['kind', 'ours', 'gorilla', ...tables].join('\t'));
  for (const { kind, ours: mine, gorilla: theirs, rows: each } of atRest(Number(process.argv[2] ?? 24)))
    console.log([kind, ...[mine, theirs, ...Object.values(each)].map((n) => n.toFixed(2))].join('\t'));
}
