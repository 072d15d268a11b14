import {
  copyFileSync,
  openSync,
  closeSync,
  existsSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
  mkdirSync,
  renameSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { openForWriting } from '../../src/store/open.ts';
import { openOutbox } from '../../src/store/outbox.ts';
import type { Outbox } from '../../src/core/outbox.ts';
import { bytes, mebibytes } from '../../src/core/units.ts';
import { until } from '../support/wait.ts';
import {
  type Told,
  batchOf,
  countTo,
  directory,
  drain,
  drainWaiting,
  listeningLog,
  messagesIn,
  noiseOf,
  opened,
  points,
  seqsIn,
} from './fixture.ts';

/** A database with a consumer `upstream` that has 40 of 100 messages behind it. */
async function filled(t: Test): Promise<string> {
  const file = join(directory(t), 'telemetry.db');
  const outbox = await opened(t, file);
  const upstream = await outbox.consumer('upstream');
  for (let i = 0; i < 4; i++) await outbox.append(batchOf(i * 100, 100));
  await drain(upstream, 'live');
  for (let i = 4; i < 10; i++) await outbox.append(noiseOf(i * 100, 100));
  await outbox.close();
  return file;
}

async function everything(outbox: Outbox): Promise<Told[]> {
  const upstream = await outbox.consumer('upstream');
  await upstream.rewind();
  return messagesIn(await drainWaiting(upstream));
}

function asideOf(file: string): string[] {
  return readdirSync(dirname(file)).filter(
    (name) => name.startsWith('telemetry.db.damaged-') && !name.endsWith('-wal'),
  );
}

function overwrite(file: string, from: number, text: Buffer): void {
  const handle = openSync(file, 'r+');
  writeSync(handle, text, 0, text.length, from);
  closeSync(handle);
}

t.test('a file of rubbish is set aside, and numbers go on above all that were sent', async (t) => {
  const file = await filled(t);
  writeFileSync(file, Buffer.alloc(20_000, 'rubbish'));
  const log = listeningLog();

  const outbox = await opened(t, file, { log });
  const told = await everything(outbox);
  await outbox.append(batchOf(2_000, 10));
  const after = await outbox.consumer('upstream');
  const next = messagesIn(await drain(after, 'live'));

  t.equal(asideOf(file).length, 1);
  t.ok(log.lines.some(({ what, facts }) => what.includes('set aside') && facts['aside'] !== undefined));
  t.equal(told.length, 1);
  const gap = told[0]?.gap;
  t.ok(
    gap !== undefined && gap.from <= 41 && gap.to >= 100 && gap.reason === 'store damaged',
    JSON.stringify(gap),
  );
  t.equal(told[0]?.seq, (gap?.to ?? 0) + 1, 'the number of the gap follows it');
  t.equal(next[0]?.seq, (gap?.to ?? 0) + 2);
});

t.test('a second consumer of the same run hears of the lost store too', async (t) => {
  const file = await filled(t);
  writeFileSync(file, 'rubbish');
  const outbox = await opened(t, file);

  const first = await everything(outbox);
  await until('it is acknowledged', async () => (await outbox.state()).commits > 0);
  const session = await outbox.consumer('session');
  await session.rewind();
  const second = messagesIn(await drainWaiting(session));

  t.same(second, first);
  t.equal(second[0]?.gap?.reason, 'store damaged');
});

t.test('without the side file too no number comes again', async (t) => {
  const file = await filled(t);
  writeFileSync(file, 'rubbish');
  rmSync(join(dirname(file), 'telemetry.seq'));

  const outbox = await opened(t, file);
  const [told] = await everything(outbox);

  t.ok((told?.seq ?? 0) > 1_700_000_000_000, `it goes on at ${told?.seq}`);
  t.match(told?.gap, { from: 1, to: (told?.seq ?? 0) - 1, reason: 'store damaged' });
});

t.test('a database that was removed is missed', async (t) => {
  const file = await filled(t);
  for (const name of [file, `${file}-wal`, `${file}-shm`]) rmSync(name, { force: true });

  const [told] = await everything(await opened(t, file));

  t.equal(told?.gap?.reason, 'store missing');
  t.ok((told?.seq ?? 0) > 100);
});

t.test(
  'a database that is removed or replaced while it runs is put back with everything in it',
  async (t) => {
    for (const [how, act] of Object.entries(REMOVALS)) {
      const file = join(directory(t), 'telemetry.db');
      const log = listeningLog();
      const outbox = await opened(t, file, { log });
      const upstream = await outbox.consumer('upstream', 'platform');
      await outbox.consumer('absent');
      for (let i = 0; i < 4; i++) await outbox.append(batchOf(i * 10, 10));
      copyFileSync(file, `${file}.copy`);
      const [first] = await upstream.read('live', bytes(1));

      act(file);
      for (let i = 4; i < 8; i++) await outbox.append(batchOf(i * 10, 10));
      upstream.acknowledge('live', first?.id ?? 0);
      const live = await drain(upstream, 'live', false);
      await until('it is there again', () => existsSync(`${file}-wal`));
      await outbox.close();
      const again = await opened(t, file);
      const waiting: number[][] = [];
      for (const name of ['upstream', 'absent']) {
        const consumer = await again.consumer(name);
        await consumer.rewind();
        waiting.push(seqsIn(await drainWaiting(consumer)));
      }

      t.same(seqsIn(live), countTo(8, 2), `${how}: delivery goes on`);
      t.same(waiting, [countTo(8, 2), countTo(8)], 'what was acknowledged is known, nothing else is lost');
      t.same(
        log.lines.map(({ what }) => what),
        ['the outbox database was removed and is put back'],
      );
      const db = openForWriting(file, 67_108_864);
      t.equal(db.pragma('integrity_check', { simple: true }), 'ok');
      db.close();
    }
  },
);

const REMOVALS: Readonly<Record<string, (file: string) => void>> = {
  'the database alone': (file) => rmSync(file),
  'its log alone': (file) => rmSync(`${file}-wal`),
  'all of it': (file) => {
    for (const name of [file, `${file}-wal`, `${file}-shm`]) rmSync(name);
  },
  'an old copy in its place': (file) => renameSync(`${file}.copy`, file),
};

t.test('an old copy of the database does not bring old numbers back', async (t) => {
  const file = join(directory(t), 'telemetry.db');
  const outbox = await opened(t, file);
  const upstream = await outbox.consumer('upstream');
  await outbox.append(batchOf(0, 10));
  await drain(upstream, 'live');
  await outbox.close();
  copyFileSync(file, `${file}.copy`);
  const more = await opened(t, file, { limit: mebibytes(256) });
  const same = await more.consumer('upstream');
  // More numbers than half a block, so that the reservation moves on.
  for (let i = 0; i < 520; i++) {
    const appends = countTo(9, 0).map(async () => more.append(batchOf(0, 10_000)));
    if (i < 3) await Promise.all(appends);
    else break;
  }
  await drain(same, 'live');
  const { nextSeq } = await more.state();
  await more.close();

  copyFileSync(`${file}.copy`, file);
  writeFileSync(
    join(dirname(file), 'telemetry.seq'),
    JSON.stringify({ from: nextSeq, upto: 200_000, kept: nextSeq }),
  );
  const restored = await opened(t, file);
  const told = await everything(restored);

  const gap = told.find(({ gap: found }) => found !== undefined)?.gap;
  t.match(gap, { from: 2, to: 199_999, reason: 'store restored' });
  t.equal((await restored.state()).nextSeq, 200_001);
});

t.test('a row whose body is damaged is told, and costs no other', async (t) => {
  const file = await filled(t);
  const db = openForWriting(file, 1_048_576);
  const row = db
    .prepare<[], { id: number; first: number; last: number; body: Buffer }>(
      'SELECT id, first_seq AS first, last_seq AS last, body FROM journal ORDER BY id LIMIT 1 OFFSET 2',
    )
    .get();
  if (row === undefined) throw new Error('no such row');
  row.body[Math.floor(row.body.length / 2)] = (row.body[Math.floor(row.body.length / 2)] ?? 0) ^ 0x55;
  db.prepare('UPDATE journal SET body = ? WHERE id = ?').run(row.body, row.id);
  db.close();

  const outbox = await opened(t, file);
  const upstream = await outbox.consumer('upstream');
  await upstream.rewind();
  const told = messagesIn(await drainWaiting(upstream));
  await upstream.more(AbortSignal.timeout(30_000));
  told.push(...messagesIn(await drain(upstream, 'live')));

  t.same(
    told.flatMap(({ gap }) => gap ?? []),
    [{ from: row.first, to: row.last, reason: 'row damaged' }],
  );
  const came = told.flatMap(({ seq, gap }) => (gap === undefined ? (seq ?? []) : []));
  t.same(
    came,
    countTo(100, 41).filter((seq) => seq < row.first || seq > row.last),
  );
});

t.test('pages of rubbish in the middle: the start succeeds and every number came or is told', async (t) => {
  for (const page of [1, 3, 6, 20]) {
    const file = await filled(t);
    if (statSync(file).size <= page * 4096) continue;
    overwrite(file, page * 4096, Buffer.alloc(4096, 0xa5));

    const outbox = await opened(t, file);
    const upstream = await outbox.consumer('upstream');
    await upstream.rewind();
    const told: Told[] = [];
    await outbox.append(batchOf(5_000, 10));
    await until(`page ${page}: every number`, async () => {
      told.push(...messagesIn(await drainWaiting(upstream)), ...messagesIn(await drain(upstream, 'live')));
      const known = new Set(told.flatMap(({ seq }) => seq ?? []));
      for (const { gap } of told)
        if (gap !== undefined) for (const seq of countTo(gap.to, gap.from)) known.add(seq);
      return countTo((await outbox.state()).nextSeq - 1, 41).every((seq) => known.has(seq));
    });
    await outbox.append(batchOf(6_000, 10));
    t.same(
      messagesIn(await drain(upstream, 'live')).flatMap(({ samples }) => samples),
      countTo(6_009, 6_000),
    );
    t.pass(`page ${page}`);
    await outbox.close();
  }
});

t.test('a file of a newer Sluice, or of another program, is refused in a clear sentence', async (t) => {
  const file = join(directory(t), 'telemetry.db');
  const db = openForWriting(file, 1_048_576);
  db.exec('CREATE TABLE song(title TEXT)');
  db.close();
  const options = { file, points, limit: mebibytes(1), log: listeningLog() };

  await t.rejects(openOutbox(options), {
    code: 'STORE_FAILED',
    message: /is a database of another program/,
    remedy: /move the file away/,
  });
  const newer = openForWriting(file, 1_048_576);
  newer.pragma('user_version = 99');
  newer.close();
  await t.rejects(openOutbox(options), {
    code: 'STORE_FAILED',
    message: /written by a newer Sluice .*99/,
    remedy: /install that version/,
  });
  t.same(asideOf(file), [], 'and it is left alone');
});

t.test('a place that cannot be written is refused in a clear sentence', async (t) => {
  const file = join(directory(t), 'telemetry.db');
  mkdirSync(file);

  await t.rejects(openOutbox({ file, points, limit: mebibytes(1), log: listeningLog() }), {
    code: 'STORE_FAILED',
    message: /the outbox cannot open .*telemetry\.db/,
  });
});

t.test('only the newest damaged files are kept', async (t) => {
  const file = await filled(t);
  for (let i = 0; i < 3; i++) {
    writeFileSync(file, 'rubbish');
    const outbox = await opened(t, file);
    await outbox.close();
  }

  t.equal(asideOf(file).length, 2);
  t.ok(existsSync(file));
});
