import { zstdCompressSync } from 'node:zlib';
import { ByteWriter, type SchemaElement, ParquetWriter } from 'hyparquet-writer';
import { BOOLEAN, type Batch, NUMBER, TEXT } from '../core/batch.ts';
import type { PointName } from '../core/point.ts';
import { QUALITIES, REASONS } from '../core/quality.ts';
import type { Encoder, Write } from './encoder.ts';

/** Half a MiB of doubles is enough for a reader to work on at once; twice as many take 60 MB more while they are written. */
const ROWS_PER_GROUP = 65_536;
/** Long texts fill a row group earlier: its memory is bounded, whatever devices send. */
const TEXT_PER_GROUP = 33_554_432;

const STRING = { type: 'BYTE_ARRAY', converted_type: 'UTF8', logical_type: { type: 'STRING' } } as const;
const TIMESTAMP = {
  type: 'INT64',
  converted_type: 'TIMESTAMP_MILLIS',
  logical_type: { type: 'TIMESTAMP', isAdjustedToUTC: true, unit: 'MILLIS' },
} as const;

/** `value` has numbers, and booleans as 0 and 1, so that a mean is the share of true; `type` tells which. */
const COLUMNS: SchemaElement[] = [
  { name: 'device', ...STRING, repetition_type: 'REQUIRED' },
  { name: 'point', ...STRING, repetition_type: 'REQUIRED' },
  { name: 'time', ...TIMESTAMP, repetition_type: 'REQUIRED' },
  { name: 'value', type: 'DOUBLE', repetition_type: 'OPTIONAL' },
  { name: 'text', ...STRING, repetition_type: 'OPTIONAL' },
  { name: 'type', ...STRING, repetition_type: 'OPTIONAL' },
  { name: 'unit', ...STRING, repetition_type: 'OPTIONAL' },
  { name: 'quality', ...STRING, repetition_type: 'REQUIRED' },
  { name: 'reason', ...STRING, repetition_type: 'OPTIONAL' },
];

/** By form of a value. */
const TYPES = ['number', 'boolean', 'text', null] as const;

/** Parquet with Zstandard; a row group is written when it is full, the footer at the end. */
export function parquetEncoder(
  names: readonly PointName[],
  write: Write,
  rowsPerGroup = ROWS_PER_GROUP,
): Encoder {
  const bytes = new Handed(write);
  let parquet: ParquetWriter | undefined;
  let rows = new Rows();

  const flush = async (): Promise<void> => {
    if (rows.count > 0) await parquet?.write({ columnData: rows.columns(), rowGroupSize: rows.count });
    rows = new Rows();
  };
  return {
    begin: async () => {
      parquet = new ParquetWriter({
        writer: bytes,
        schema: [{ name: 'samples', num_children: COLUMNS.length }, ...COLUMNS],
        codec: 'ZSTD',
        compressors: { ZSTD: (page) => zstdCompressSync(page) },
        createdBy: 'sluice',
      });
    },
    add: async (batch) => {
      for (let row = 0; row < batch.count; row++) {
        rows.add(names, batch, row);
        if (rows.count >= rowsPerGroup || rows.characters >= TEXT_PER_GROUP) await flush();
      }
    },
    end: async () => {
      await flush();
      await parquet?.finish();
      if (parquet?.num_rows === 0n) bytes.mendEmptyList();
      await bytes.flush();
    },
  };
}

/** What the library has written is handed on after each row group, instead of being collected. */
class Handed extends ByteWriter {
  readonly #write: Write;

  constructor(write: Write) {
    super();
    this.#write = write;
  }

  /**
   * The library writes an empty list of row groups without the type of its elements, which strict readers refuse: makes
   * it one of structs. The marks are those of Thrift's compact protocol around it: no rows, then the list in the next field.
   */
  mendEmptyList(): void {
    const footer = Buffer.from(this.buffer, 0, this.index);
    const at = footer.lastIndexOf(Buffer.from([0x16, 0x00, 0x19, 0x00]));
    if (at >= 0) footer[at + 3] = 0x0c;
  }

  async flush(): Promise<void> {
    const written = this.getBytes().slice();
    this.index = 0;
    await this.#write(written);
  }
}

const plain = (name: string, data: unknown[]) => ({ name, data, offsetIndex: false });
/** Nobody skips row groups by the bounds of these columns. */
const unbounded = (name: string, data: unknown[]) => ({ ...plain(name, data), statistics: false });

/** The columns of one row group. */
class Rows {
  /** Of its texts. */
  characters = 0;
  readonly #device: string[] = [];
  readonly #point: string[] = [];
  readonly #time: bigint[] = [];
  readonly #value: (number | null)[] = [];
  readonly #text: (string | null)[] = [];
  readonly #type: (string | null)[] = [];
  readonly #unit: (string | null)[] = [];
  readonly #quality: string[] = [];
  readonly #reason: (string | null)[] = [];

  get count(): number {
    return this.#time.length;
  }

  add(names: readonly PointName[], batch: Batch, row: number): void {
    const name = names[batch.points[row] ?? 0];
    const form = batch.forms[row] ?? 0;
    const held = batch.values[row] ?? 0;
    this.#device.push(name?.device ?? '');
    this.#point.push(name?.point ?? '');
    this.#time.push(BigInt(Math.floor(batch.times[row] ?? 0)));
    this.#value.push(form === NUMBER || form === BOOLEAN ? held : null);
    const text = form === TEXT ? (batch.texts[held] ?? '') : null;
    this.characters += text?.length ?? 0;
    this.#text.push(text);
    this.#type.push(TYPES[form] ?? null);
    this.#unit.push(name?.unit || null);
    this.#quality.push(QUALITIES[batch.qualities[row] ?? 0] ?? '');
    this.#reason.push(REASONS[batch.reasons[row] ?? 0] || null);
  }

  columns(): Parameters<ParquetWriter['write']>[0]['columnData'] {
    return [
      plain('device', this.#device),
      plain('point', this.#point),
      // Samples of a series are nearly equally spaced: differences of differences take next to nothing.
      { ...plain('time', this.#time), encoding: 'DELTA_BINARY_PACKED' },
      plain('value', this.#value),
      unbounded('text', this.#text),
      unbounded('type', this.#type),
      unbounded('unit', this.#unit),
      plain('quality', this.#quality),
      unbounded('reason', this.#reason),
    ];
  }
}
