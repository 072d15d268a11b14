import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { BatchBuilder } from '../../src/core/batch.ts';
import { silentLog } from '../../src/core/log.ts';
import { epochMs, mebibytes } from '../../src/core/units.ts';
import { openBook } from '../../src/store/history/book.ts';
import { fileAt } from '../../src/store/history/files.ts';
import { RawFile } from '../../src/store/history/raw-file.ts';
import { openForWriting } from '../../src/store/open.ts';
import { sortedOrder } from '../../src/telemetry/order.ts';
import { HandLog, NAMES, regular } from '../history/fixture.ts';
import { REPOSITORY } from '../support/process.ts';
import { makeSite, type Site } from '../support/site.ts';
import { taken } from './support.ts';

const DAY = 86_400_000;
const FIRST = Date.UTC(2026, 9, 1);
/** A full run has a month. */
const DAYS = process.env['LONG'] === undefined ? 10 : 31;
const PER_DAY = (DAY / 1_000) * NAMES.length;
/** Of the day after the last file; they are in no file yet. */
const LOGGED = 900;
/** Garbage that was not collected yet; who kept 16 bytes of each further sample, a time and a value, would take more. */
const ALLOWED_MB = 50;

/** A stopped gateway with so many days in files, and a quarter of an hour in its log. */
async function recorded(t: Test): Promise<Site> {
  const site = await makeSite();
  t.teardown(() => site.remove());
  const data = join(site.folder, 'data');
  mkdirSync(data);
  const log = new HandLog(data);
  for (const [i] of NAMES.entries()) log.add([{ point: i, time: FIRST - DAY, value: 0 }], FIRST - DAY);
  const end = FIRST + DAYS * DAY;
  log.add(regular(end, LOGGED), end + LOGGED * 1_000);
  log.close();
  openBook({ file: join(data, 'history.db'), log: silentLog, floor: () => undefined }).close();
  const template = oneDay(data);
  for (let day = 1; day < DAYS; day++) {
    const { path } = fileAt(data, 'raw', epochMs(FIRST + day * DAY));
    copyFileSync(template, path);
    const db = openForWriting(path, 2 ** 26);
    db.prepare<[number, number]>('UPDATE chunk SET t0 = t0 + ?, t1 = t1 + ?').run(day * DAY, day * DAY);
    db.pragma('journal_mode = DELETE');
    db.close();
  }
  return site;
}

/** The first day, in one file; returns where it is. */
function oneDay(data: string): string {
  const at = fileAt(data, 'raw', epochMs(FIRST));
  const file = RawFile.forWriting(at, mebibytes(256));
  file.begin();
  for (const [i, name] of NAMES.entries()) {
    const builder = new BatchBuilder();
    for (let k = 0; k < DAY / 1_000; k++)
      if (k % 1_000 === 7) builder.addBad(0, FIRST + k * 1_000, 1);
      else builder.addNumber(0, FIRST + k * 1_000, Math.round(4_000 + 900 * Math.sin(k / (300 + i))) / 10);
    const batch = taken(builder);
    file.add(name, batch, sortedOrder(batch).order, 0, batch.count);
  }
  file.commit();
  file.seal();
  return at.path;
}

/** The largest memory of a whole command, in MB, and how many samples it wrote. */
function exported(site: Site, from: number, format: string): { megabytes: number; samples: number } {
  const memory = join(site.folder, 'memory');
  const range = [
    '--from',
    new Date(from).toISOString(),
    '--to',
    new Date(FIRST + (DAYS + 1) * DAY).toISOString(),
  ];
  // The launcher's settings; and garbage is collected by the thread that makes it, however busy the machine is.
  const node = ['--max-semi-space-size=4', '--heap-growing-percent=30', '--single-threaded-gc'];
  const main = ['--import', join(import.meta.dirname, 'tell-memory.ts'), join(REPOSITORY, 'src/main.ts')];
  const { stderr } = spawnSync(
    process.execPath,
    [...node, ...main, 'export', ...range, '--format', format, '--json', site.file],
    {
      encoding: 'utf8',
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, NODE_OPTIONS: '', MEMORY_FILE: memory },
    },
  );
  const said: unknown = JSON.parse(stderr);
  const samples = typeof said === 'object' && said !== null && 'samples' in said ? Number(said.samples) : 0;
  return { megabytes: Number(readFileSync(memory, 'utf8')), samples };
}

t.test('the command takes no more memory for more days, of files and log', async (t) => {
  const site = await recorded(t);

  const few = exported(site, FIRST + (DAYS - 1) * DAY, 'csv');
  const many = exported(site, FIRST, 'csv');

  t.equal(few.samples, PER_DAY + LOGGED * NAMES.length);
  t.equal(many.samples, DAYS * PER_DAY + LOGGED * NAMES.length);
  const grown = many.megabytes - few.megabytes;
  t.ok(grown < ALLOWED_MB, `${few.megabytes.toFixed(0)} MB, then ${many.megabytes.toFixed(0)} MB`);
});
