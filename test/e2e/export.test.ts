import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { BatchBuilder } from '../../src/core/batch.ts';
import { silentLog } from '../../src/core/log.ts';
import { epochMs, mebibytes } from '../../src/core/units.ts';
import { openBook } from '../../src/store/history/book.ts';
import { fileAt } from '../../src/store/history/files.ts';
import { RawFile } from '../../src/store/history/raw-file.ts';
import { openStore } from '../../src/store/store.ts';
import { sortedOrder } from '../../src/telemetry/order.ts';
import { parquetFile, taken } from '../export/support.ts';
import { missingPeer } from '../support/peer.ts';
import { Running, SLUICE } from '../support/process.ts';
import { startGateway, startPlant } from '../support/running-site.ts';
import { makeSite, type Site } from '../support/site.ts';
import { until } from '../support/wait.ts';

interface Said {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

function sluice(...args: string[]): Said {
  const { status, stdout, stderr } = spawnSync(SLUICE, args, {
    encoding: 'utf8',
    cwd: tmpdir(),
    maxBuffer: 2 ** 30,
  });
  return { status, out: stdout, err: stderr };
}

function shell(file: string, sql: string): string {
  return execFileSync('sqlite3', ['-readonly', '-csv', file, sql], {
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  }).trim();
}

function onTerminal({ folder }: Site, command: string): string {
  return spawnSync('script', ['-qec', command, '/dev/null'], { encoding: 'utf8', cwd: folder }).stdout;
}

async function siteOf(t: Test): Promise<Site> {
  const site = await makeSite();
  t.teardown(() => site.remove());
  return site;
}

/** `[device, point, time, value, unit, quality, reason]`; the reason may be missing in a view. */
function rowsOf(csv: string): string[][] {
  return csv
    .trimEnd()
    .split(/\r?\n/)
    .map((line) => line.split(','))
    .sort((a, b) => (a.join() < b.join() ? -1 : 1));
}

/** Alike for both: the shell shows a boolean as 1 and 0, and quotes what has a space. */
const plain = (row: readonly string[]): string =>
  row
    .join()
    .replaceAll(/"|Z(?=,)/g, '')
    .replace(/(\d)T(\d)/, '$1 $2')
    .replace(/,true,/, ',1,')
    .replace(/,false,/, ',0,');

t.test('CSV, JSONL and Parquet of a running gateway say what it recorded, and say the same', async (t) => {
  const site = await siteOf(t);
  startPlant(t, site);
  const gateway = await startGateway(t, site);
  const telemetry = join(site.folder, 'data/telemetry.db');
  const counted = (): number =>
    Number(existsSync(telemetry) ? shell(telemetry, 'SELECT count(*) FROM recent') : 0);
  await until('samples of every device', () => counted() > 200);
  const end = new Date().toISOString();
  await until(
    'all before it are committed',
    () => shell(telemetry, `SELECT max(time) > '${end.replace('T', ' ').slice(0, -1)}' FROM recent`) === '1',
  );
  const range = ['--from', '1h', '--to', end];
  const parquet = join(site.folder, 'x.parquet');

  const csv = sluice('export', ...range, site.file);
  const jsonl = sluice('export', ...range, '--format', 'jsonl', site.file);
  const summary = sluice('export', ...range, '--out', parquet, '--json', site.file);
  t.equal(gateway.over, undefined);
  t.strictSame(
    [csv.status, csv.err, jsonl.status, jsonl.err, summary.err],
    [0, '', 0, '', ''],
    'no terminal, no progress',
  );

  const [head, ...lines] = csv.out.trimEnd().split('\r\n');
  const rows = rowsOf(lines.join('\n'));
  t.equal(head, 'device,point,time,value,unit,quality,reason');
  const recorded = shell(
    telemetry,
    `SELECT device, point, time, value, unit, quality, reason FROM recent WHERE time < '${end.replace('T', ' ').slice(0, -1)}'`,
  );
  t.ok(rows.length > 150);
  t.strictSame(
    rows.map(plain).sort(),
    rowsOf(recorded).map(plain).sort(),
    `${rows.length} samples, as recorded`,
  );

  const objects = jsonl.out
    .trimEnd()
    .split('\n')
    .map((line): unknown => JSON.parse(line));
  t.strictSame(
    objects
      .map((object) =>
        Object.values(object ?? {})
          .map((value) => (value === null ? '' : String(value)))
          .join(),
      )
      .sort(),
    rows.map((row) => row.join()).sort(),
  );
  t.strictSame(
    parquetFile(parquet)
      .map(({ device, point, time, value, text, type, unit, quality, reason }) =>
        [
          device,
          point,
          new Date(time).toISOString(),
          type === 'boolean' ? value === 1 : (value ?? text ?? ''),
          unit ?? '',
          quality,
          reason ?? '',
        ].join(),
      )
      .sort(),
    rows.map((row) => row.join()).sort(),
  );
  t.match(JSON.parse(summary.out), {
    file: parquet,
    format: 'parquet',
    samples: rows.length,
    bytes: statSync(parquet).size,
  });

  t.equal(await gateway.stop(), 0);
  t.strictSame(
    rowsOf(sluice('export', ...range, site.file).out),
    rowsOf(csv.out),
    'and the same when it is stopped',
  );
});

const DAY = 86_400_000;
const FIRST = Date.UTC(2026, 9, 1);
const DAYS = 8;

/** A stopped gateway that recorded one point every half second for some days. */
async function longHistory(t: Test): Promise<Site> {
  const site = await siteOf(t);
  const data = join(site.folder, 'data');
  mkdirSync(join(data, 'raw'), { recursive: true });
  openStore({ file: join(data, 'telemetry.db'), limit: mebibytes(64), log: silentLog, points: [] }).close();
  openBook({ file: join(data, 'history.db'), log: silentLog, floor: () => undefined }).close();
  for (let day = 0; day < DAYS; day++) {
    const builder = new BatchBuilder();
    const start = FIRST + day * DAY;
    for (let k = 0; k < DAY / 500; k++)
      builder.addNumber(0, start + k * 500, Math.round(1_000 * Math.sin(k / 300)) / 10);
    const batch = taken(builder);
    const file = RawFile.forWriting(fileAt(data, 'raw', epochMs(start)), mebibytes(256));
    file.begin();
    file.add(
      { device: 'meter-1', point: 'power', unit: 'kW' },
      batch,
      sortedOrder(batch).order,
      0,
      batch.count,
    );
    file.commit();
    file.seal();
  }
  return site;
}

t.test('a long history', async (t) => {
  const site = await longHistory(t);
  const data = join(site.folder, 'data');
  const range = ['--from', '2026-10-01', '--to', '2026-11-01'];
  const samples = (DAYS * DAY) / 500;

  t.test('comes whole and in order of time, as the stock shell reads it', async (t) => {
    const out = join(site.folder, 'long.csv');
    const { status } = sluice('export', ...range, '--out', out, site.file);
    t.equal(status, 0);
    const lines = readFileSync(out, 'utf8').trimEnd().split('\r\n').slice(1);
    t.equal(lines.length, samples);
    const times = lines.map((line) => line.split(',')[2] ?? '');
    t.ok(times.every((time, i) => i === 0 || time > (times[i - 1] ?? '')));
    const day = join(data, 'raw/2026-10-03.db');
    const [count, sum] = shell(day, 'SELECT count(*), round(sum(value), 3) FROM sample')
      .split(',')
      .map(Number);
    const third = lines.filter((line) => line.includes(',2026-10-03T'));
    t.equal(third.length, count);
    t.equal(
      Math.round(third.reduce((total, line) => total + Number(line.split(',')[3]), 0) * 1_000) / 1_000,
      sum,
    );
    t.equal(statSync(out).mode & 0o007, 0, 'nothing for others');
  });

  t.test('a file that is there is replaced where that is asked for', async (t) => {
    const hour = ['--from', '2026-10-01', '--to', '2026-10-01T01:00Z'];
    const out = join(site.folder, 'again.csv');
    const again = (...more: string[]): Said => sluice('export', ...hour, '--out', out, ...more, site.file);
    t.equal(again().status, 0);
    t.match(again(), { status: 1, err: /again.csv is there already; with --force it is replaced/ });
    t.equal(again('--force').status, 0);
  });

  t.test('a time within is cut at the millisecond', async (t) => {
    const { out } = sluice(
      'export',
      '--from',
      '2026-10-02T23:59:59.500Z',
      '--to',
      '2026-10-03T00:00:00.501Z',
      site.file,
    );
    t.strictSame(
      out
        .split('\r\n')
        .slice(1, -1)
        .map((line) => line.split(',')[2]),
      ['2026-10-02T23:59:59.500Z', '2026-10-03T00:00:00.000Z', '2026-10-03T00:00:00.500Z'],
    );
  });

  t.test('what cannot be read is told, and is no success', async (t) => {
    const day = join(data, 'raw/2026-10-04.db');
    const whole = readFileSync(day);
    t.teardown(() => writeFileSync(day, whole));
    const middle = '(SELECT max(id) / 2 FROM chunk)';
    execFileSync('sqlite3', [day, `UPDATE chunk SET body = zeroblob(length(body)) WHERE id = ${middle}`]);

    const out = join(site.folder, 'torn.csv');
    const ofDay = ['--from', '2026-10-04', '--to', '2026-10-05'];
    const said = sluice('export', ...ofDay, '--out', out, '--json', site.file);
    t.match(said, { status: 1, err: /^sluice: raw\/2026-10-04.db cannot be read, or not all of it/ });
    t.match(JSON.parse(said.out), { leftOut: [{ name: 'raw/2026-10-04.db', why: /./ }] });
    const found = readFileSync(out, 'utf8').trimEnd().split('\n').length - 1;
    t.ok(found > 0 && found < DAY / 500, `${found} of ${DAY / 500}`);
    t.match(sluice('export', '--from', '2026-10-05', '--to', '2026-10-06', site.file), {
      status: 0,
      err: '',
    });
    for (const question of ['--width=24', '--completeness'])
      t.match(
        sluice('history', question, ...ofDay, '--json', site.file),
        { status: 1, out: /"leftOut":\[\{"name":"raw\/2026-10-04.db"/, err: /cannot be read/ },
        question,
      );
    t.match(
      onTerminal(site, `${SLUICE} export ${ofDay.join(' ')} --out seen-torn.csv gateway.yaml`),
      /[\d,]+ samples of 1 point, [\d.]+ MB in [\d.]+ s; not everything of 1 file/,
    );

    writeFileSync(day, 'no database');
    t.match(sluice('history', '--last', '--json', site.file), {
      status: 1,
      out: /"leftOut": \[\s*\{\s*"name": "raw\/2026-10-04.db"/,
      err: /2026-10-04.db cannot be read.*not a database/,
    });

    writeFileSync(day, whole);
    execFileSync('sqlite3', [day, 'PRAGMA user_version = 9']);
    for (const args of [['export', ...ofDay], ['history']])
      t.match(sluice(...args, site.file), {
        status: 1,
        out: '',
        err: /^sluice: .*2026-10-04.db was written by a newer Sluice \(its schema is 9, this one reads 1\)/,
      });
  });

  t.test('a reader that goes away is no failure, a full disk is one sentence', async (t) => {
    const head = spawnSync(
      'bash',
      ['-c', `set -o pipefail; "${SLUICE}" export ${range.join(' ')} "${site.file}" | head -2`],
      { encoding: 'utf8' },
    );
    t.match(head, { status: 0, stderr: '' });
    t.equal(head.stdout.trimEnd().split('\n').length, 2);
    const full = spawnSync(
      'bash',
      ['-c', `"${SLUICE}" export ${range.join(' ')} "${site.file}" > /dev/full`],
      { encoding: 'utf8' },
    );
    t.match(full, { status: 1, stderr: /^sluice: cannot write to standard output: ENOSPC[^\n]*\n$/ });
    t.match(sluice('export', ...range, '--out', '/dev/full', site.file), { status: 1, err: /is no file/ });
  });

  t.test('Ctrl-C leaves nothing, and says so; kill -9 leaves what the next one replaces', async (t) => {
    const out = join(site.folder, 'stopped.jsonl');
    const begun = async (): Promise<Running> => {
      const running = new Running(SLUICE, ['export', ...range, '--out', out, site.file]);
      t.teardown(async () => running.stop('SIGKILL'));
      await until('it writes', () =>
        readdirSync(site.folder)
          .filter((name) => name.startsWith('stopped.jsonl.'))
          .some((name) => statSync(join(site.folder, name)).size > 100_000),
      );
      return running;
    };
    const stopped = await begun();
    t.equal(await stopped.stop('SIGINT'), 1);
    t.strictSame(stopped.err, [`sluice: the export was stopped; nothing is left of ${out}`]);
    t.strictSame(
      readdirSync(site.folder).filter((name) => name.startsWith('stopped')),
      [],
    );

    await (await begun()).stop('SIGKILL');
    t.notOk(existsSync(out));
    t.equal(
      sluice('export', '--from', '2026-10-01', '--to', '2026-10-02', '--out', out, site.file).status,
      0,
    );
    t.strictSame(
      readdirSync(site.folder).filter((name) => name.startsWith('stopped')),
      ['stopped.jsonl'],
    );
    t.equal(readFileSync(out, 'utf8').trimEnd().split('\n').length, DAY / 500);
  });

  t.test(
    'a person sees progress, and Parquet keeps off the terminal',
    { skip: missingPeer('script', 'bsdutils') },
    async (t) => {
      const seen = onTerminal(site, `${SLUICE} export ${range.join(' ')} --out seen.csv gateway.yaml`);
      t.match(seen, /\r.\[K[\d,]+ samples {2}[\d.]+ [kM]?B {2}\d+ % of the time {2}[\d,]+\/s/);
      t.match(seen, /1,382,400 samples of 1 point, [\d.]+ MB in [\d.]+ s/);
      t.match(
        onTerminal(site, `${SLUICE} export ${range.join(' ')} --format parquet gateway.yaml`),
        /Parquet is nothing for a terminal/,
      );
    },
  );

  t.test('the rest of what may be wrong is a sentence, too', async (t) => {
    const wrong = (pattern: RegExp, status: number, ...args: string[]): void => {
      const said = sluice('export', ...args, site.file);
      t.match(said, { status, out: '', err: pattern });
      t.equal(said.err.trimEnd().split('\n').length, 1, said.err);
    };
    wrong(/--from is missing/, 64);
    wrong(/--from 2026-13-01 is no time/, 64, '--from', '2026-13-01');
    wrong(
      /--from 2026-10-02 is not before --to 2026-10-01/,
      64,
      '--from',
      '2026-10-02',
      '--to',
      '2026-10-01',
    );
    wrong(/--points meter is no pattern/, 64, ...range, '--points', 'meter');
    wrong(/--format xlsx is none of csv, jsonl, parquet/, 64, ...range, '--format', 'xlsx');
    wrong(
      /the history has no point like pump-\*\/\*; \.\/sluice history --names shows those it has/,
      1,
      ...range,
      '--points',
      'pump-*/*',
    );
    wrong(/gateway.yaml is the configuration, and would be replaced/, 64, ...range, '--out', site.file);
    const among = join(site.folder, 'data/telemetry.db');
    wrong(/telemetry.db lies in the data folder of the gateway/, 1, ...range, '--out', among);
    wrong(/make the folder .*no first/, 1, ...range, '--out', join(site.folder, 'no/x.csv'));
    t.match(sluice('export', '--from', '2020-01-01', '--to', '2020-01-02', site.file), {
      status: 0,
      out: /^device[^\n]+\n$/,
    });
  });
});
