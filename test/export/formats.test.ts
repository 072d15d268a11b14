import { spawnSync } from 'node:child_process';
import { tableFromIPC } from 'apache-arrow';
import { Compression, ParquetFile } from 'parquet-wasm/node';
import t from 'tap';
import { BatchBuilder } from '../../src/core/batch.ts';
import { parquetEncoder } from '../../src/export/parquet.ts';
import { missingPeer } from '../support/peer.ts';
import { DAY, exported, mixed, NAMES, parquetRows, taken, TEXTS } from './support.ts';

const READ_CSV = `
import csv, io, json, sys
text = sys.stdin.buffer.read().decode("utf-8")
json.dump(list(csv.reader(io.StringIO(text, newline=""), strict=True)), sys.stdout)
`;

function isTable(read: unknown): read is string[][] {
  return Array.isArray(read) && read.every(Array.isArray);
}

function isObject(read: unknown): read is Record<string, unknown> {
  return typeof read === 'object' && read !== null;
}

function readCsv(file: Buffer): string[][] {
  const { stdout, stderr } = spawnSync('python3', ['-c', READ_CSV], { input: file, encoding: 'utf8' });
  if (stdout === '') throw new Error(stderr);
  const read: unknown = JSON.parse(stdout);
  if (!isTable(read)) throw new Error('no table');
  return read;
}

t.test('Python reads the CSV as it was meant', { skip: missingPeer('python3', 'python3') }, async (t) => {
  const [head, ...rows] = readCsv(await exported('csv', [mixed()]));

  t.strictSame(head, ['device', 'point', 'time', 'value', 'unit', 'quality', 'reason']);
  t.strictSame(rows.slice(0, 6), [
    ['meter-1', 'voltage', '2026-11-24T00:00:00.000Z', '230.1', 'V', 'good', ''],
    ['meter-1', 'voltage', '2026-11-24T00:00:01.005Z', '-1.5e-7', 'V', 'uncertain', 'stale'],
    ['meter-1', 'voltage', '2026-11-24T00:00:59.999Z', '', 'V', 'bad', 'timeout'],
    ['meter-1', 'voltage', '2026-11-24T00:01:00.000Z', '9007199254740991', 'V', 'good', ''],
    ['meter-1', 'running', '2026-11-24T00:00:00.010Z', 'true', '', 'good', ''],
    ['meter-1', 'running', '2026-11-24T01:00:00.000Z', 'false', '', 'good', ''],
  ]);
  const texts = rows.slice(6).map(([, , , value = '']) => value);
  t.notOk(
    texts.some((text) => /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text))),
    'no spreadsheet runs a text',
  );
  t.strictSame(
    texts.map((text) => text.replace(/^'/, '')),
    TEXTS,
    'one apostrophe less, and each text is what the device sent',
  );
  t.equal(rows[6]?.[4], "'=cmd", 'units too');
});

t.test('JSONL keeps types, and every line is an object with the same keys', async (t) => {
  const text = (await exported('jsonl', [mixed()])).toString();
  const rows = text
    .trimEnd()
    .split('\n')
    .map((line): unknown => JSON.parse(line))
    .filter(isObject);

  t.strictSame(rows[0], {
    device: 'meter-1',
    point: 'voltage',
    time: '2026-11-24T00:00:00.000Z',
    value: 230.1,
    unit: 'V',
    quality: 'good',
    reason: '',
  });
  t.strictSame(rows[2]?.['value'], null);
  t.strictSame(rows[4]?.['value'], true);
  t.strictSame(
    rows.slice(6).map(({ value }) => value),
    TEXTS,
  );
  t.strictSame(new Set(rows.map((row) => Object.keys(row).join())).size, 1);
  t.ok(text.endsWith('}\n'));
});

t.test('the Rust reader finds every row of the Parquet file, typed', async (t) => {
  const rows = parquetRows(await exported('parquet', [mixed()]));

  t.strictSame(rows.slice(0, 3), [
    {
      device: 'meter-1',
      point: 'voltage',
      time: DAY,
      value: 230.1,
      text: null,
      type: 'number',
      unit: 'V',
      quality: 'good',
      reason: null,
    },
    {
      device: 'meter-1',
      point: 'voltage',
      time: DAY + 1_005,
      value: -1.5e-7,
      text: null,
      type: 'number',
      unit: 'V',
      quality: 'uncertain',
      reason: 'stale',
    },
    {
      device: 'meter-1',
      point: 'voltage',
      time: DAY + 59_999,
      value: null,
      text: null,
      type: null,
      unit: 'V',
      quality: 'bad',
      reason: 'timeout',
    },
  ]);
  t.match(rows[4], { point: 'running', value: 1, type: 'boolean', unit: null });
  t.match(rows[5], { value: 0, type: 'boolean' });
  t.strictSame(
    rows.slice(6).map(({ text }) => text),
    TEXTS,
  );
  t.ok(rows.slice(6).every(({ value, type }) => value === null && type === 'text'));
});

t.test(
  'Parquet is what analysts expect: UTC milliseconds, Zstandard, dictionaries, small row groups',
  async (t) => {
    const builder = new BatchBuilder();
    for (let i = 0; i < 2_500; i++) builder.addNumber(0, DAY + i * 1_000, i / 10);
    const pieces: Uint8Array[] = [];
    const encoder = parquetEncoder(NAMES, async (bytes) => void pieces.push(bytes), 1_000);
    await encoder.begin();
    await encoder.add(taken(builder));
    const before = pieces.length;
    await encoder.end();
    const file = Buffer.concat(pieces);

    const parquet = await ParquetFile.fromFile(new Blob([file]));
    const metadata = parquet.metadata();
    const groups = metadata.rowGroups();
    t.equal(before, 2, 'a full row group is written while the rest still comes');
    t.strictSame(
      groups.map((group) => group.numRows()),
      [1_000, 1_000, 500],
    );
    const columns = groups[0]?.columns() ?? [];
    t.ok(
      columns.every((column) => column.compression() === Compression.ZSTD),
      'ZSTD',
    );
    const field = parquet.schema().intoIPCStream();
    t.match(String(tableFromIPC(field).schema), /time: Timestamp<MILLISECOND, UTC>/);
    t.strictSame(
      parquetRows(file).map(({ value }) => value),
      Array.from({ length: 2_500 }, (_, i) => i / 10),
    );
  },
);

t.test('an export without samples is a whole file of its format', async (t) => {
  t.equal((await exported('csv', [])).toString(), 'device,point,time,value,unit,quality,reason\r\n');
  t.equal((await exported('jsonl', [])).length, 0);
  t.strictSame(parquetRows(await exported('parquet', [])), []);
});

t.test('times beyond a minute, a year or the usual calendar are exact', async (t) => {
  const times = [0, 1, 999, 59_999, 60_000, -1, -62_135_596_800_001, 253_402_300_800_000, DAY + 0.75];
  const builder = new BatchBuilder();
  for (const time of times) builder.addNumber(0, time, 1);
  const lines = (await exported('csv', [taken(builder)])).toString().trimEnd().split('\r\n').slice(1);
  t.strictSame(
    lines.map((line) => line.split(',')[2]),
    times.map((time) => new Date(Math.floor(time)).toISOString()),
  );
});
