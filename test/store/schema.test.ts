import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { openForReading, openForWriting } from '../../src/store/open.ts';
import { openOutbox } from '../../src/store/outbox.ts';
import { SCHEMA_VERSION } from '../../src/store/schema.ts';
import { mebibytes } from '../../src/core/units.ts';
import { cannotMount, fillDisk, mountSmallDisk } from '../support/small-disk.ts';
import {
  batchOf,
  countTo,
  directory,
  drainWaiting,
  listeningLog,
  messagesIn,
  opened,
  points,
} from './fixture.ts';
import { recordedIn } from './recorded.ts';

// The tables as each version made them, from its own source; nothing here may follow the source of today.
const COMMON = `
CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE journal(
  id INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL, time INTEGER NOT NULL, first_seq INTEGER NOT NULL,
  last_seq INTEGER NOT NULL, messages INTEGER NOT NULL, samples INTEGER NOT NULL, len INTEGER NOT NULL,
  body BLOB NOT NULL
) STRICT;
CREATE VIEW outbox AS
SELECT id, strftime('%Y-%m-%d %H:%M:%f', time / 1000.0, 'unixepoch') AS time,
  CASE kind WHEN 0 THEN 'telemetry' WHEN 1 THEN 'event' ELSE 'gap' END AS kind,
  CASE WHEN last_seq >= first_seq THEN first_seq END AS first_seq,
  CASE WHEN last_seq >= first_seq THEN last_seq END AS last_seq,
  messages, samples, length(body) AS bytes, CAST(sqlar_uncompress(body, len) AS TEXT) AS text
FROM journal;`;
const VERSIONS: Readonly<Record<number, string>> = {
  1: `${COMMON}
CREATE TABLE consumer(name TEXT PRIMARY KEY, ranges TEXT NOT NULL, live INTEGER NOT NULL, note TEXT NOT NULL,
  since INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO consumer VALUES('upstream', '[[1,3]]', 3, 'platform', 1795000000000);
PRAGMA user_version = 1;`,
  2: `${COMMON}
CREATE INDEX journal_event ON journal(id) WHERE kind <> 0;
CREATE TABLE consumer(name TEXT PRIMARY KEY, ranges TEXT NOT NULL, events TEXT NOT NULL, live INTEGER NOT NULL,
  note TEXT NOT NULL, since INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO consumer VALUES('upstream', '[[1,3]]', '[[1,3]]', 3, 'platform', 1795000000000);
PRAGMA user_version = 2;`,
};

/** Four rows: delivered, telemetry and an event that wait for the connection, telemetry that was live. */
const ROWS: readonly (readonly [kind: number, seq: number, text: string])[] = [
  [0, 1, 'telemetry/meter-0 {"seq":1,"samples":[{"point":"voltage-0","time":1,"value":1}]}\n'],
  [0, 2, 'telemetry/meter-0 {"seq":2,"samples":[{"point":"voltage-0","time":2,"value":2}]}\n'],
  [1, 3, 'event/alarm {"number":1}\n'],
  [0, 3, 'telemetry/meter-0 {"seq":3,"samples":[{"point":"voltage-0","time":3,"value":3}]}\n'],
];

function oldFile(file: string, sql: string): void {
  const db = openForWriting(file, 1_048_576);
  db.exec(sql);
  const insert = db.prepare(
    'INSERT INTO journal(kind, time, first_seq, last_seq, messages, samples, len, body) VALUES(?,1795000000000,?,?,1,1,?,?)',
  );
  for (const [kind, seq, text] of ROWS)
    insert.run(kind, seq, kind === 0 ? seq : seq - 1, text.length, Buffer.from(text));
  db.exec("INSERT INTO meta VALUES('next_seq', 4)");
  db.close();
}

for (const [version, sql] of Object.entries(VERSIONS))
  t.test(`a file of schema ${version} is brought up to date, and nothing in it is lost`, async (t) => {
    const file = join(directory(t), 'telemetry.db');
    oldFile(file, sql);

    const outbox = await opened(t, file);
    const upstream = await outbox.consumer('upstream');
    const consumers = await outbox.consumers();
    await upstream.rewind();
    const waited = await drainWaiting(upstream);
    await outbox.record(batchOf(0, 100));
    const { nextSeq } = await outbox.state();
    await outbox.close();

    t.same(
      messagesIn(waited).map(({ topic, samples }) => [topic, ...samples]),
      [['event/alarm'], ['history/meter-0', 2], ['history/meter-0', 3]],
    );
    t.match(consumers, [{ name: 'upstream', note: 'platform', since: 1_795_000_000_000 }]);
    t.equal(nextSeq, 4);
    const { samples, log } = recordedIn(file);
    t.equal(samples.length, 100);
    t.ok(Number.isSafeInteger(log) && log > 0);
    t.same(tablesOf(file), tablesOf(await freshFile(t)), 'its tables are those of a new file');
  });

async function freshFile(t: Parameters<typeof directory>[0]): Promise<string> {
  const file = join(directory(t), 'telemetry.db');
  await (await opened(t, file)).close();
  return file;
}

/** Names of everything, and the columns of the tables. */
function tablesOf(file: string): unknown {
  const db = openForReading(file);
  const found = {
    version: db.pragma('user_version', { simple: true }),
    all: db.prepare('SELECT type, name FROM sqlite_schema ORDER BY name').all(),
    columns: db
      .prepare(
        "SELECT t.name, c.name AS column, c.type FROM pragma_table_list t, pragma_table_info(t.name) c WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%' ORDER BY 1, 2",
      )
      .all(),
  };
  db.close();
  return found;
}

t.test('an older file is brought up to date on a full disk too', { skip: cannotMount() }, async (t) => {
  const disk = join(directory(t), 'disk');
  const mounted = mountSmallDisk(disk, 8);
  t.teardown(() => mounted.unmount());
  const file = join(disk, 'telemetry.db');
  oldFile(file, VERSIONS[2] ?? '');
  writeFileSync(join(disk, 'telemetry.spare'), Buffer.alloc(1_048_576, 'x'));
  fillDisk(disk, 45_000); // enough for the index of the log, not for the log

  const outbox = await opened(t, file);
  const upstream = await outbox.consumer('upstream');
  await upstream.rewind();
  const waited = await drainWaiting(upstream);
  await outbox.record(batchOf(0, 100));

  t.equal(messagesIn(waited).length, 3);
  t.equal((await outbox.state()).failing, null);
});

t.test('a file of a newer Sluice is refused in a clear sentence, and left alone', async (t) => {
  const file = await freshFile(t);
  const db = openForWriting(file, 1_048_576);
  db.pragma(`user_version = ${SCHEMA_VERSION + 1}`);
  db.close();

  await t.rejects(openOutbox({ file, points, limit: mebibytes(1), log: listeningLog() }), {
    code: 'STORE_FAILED',
    message: `${file} was written by a newer Sluice (its schema is ${SCHEMA_VERSION + 1}, this one reads ${SCHEMA_VERSION})`,
    remedy: /install that version again/,
  });
  const after = openForReading(file);
  t.equal(after.pragma('user_version', { simple: true }), SCHEMA_VERSION + 1);
  after.close();
});

t.test('each sample log has a number of its own, which it keeps', async (t) => {
  const files = await Promise.all(countTo(5).map(async () => freshFile(t)));
  const numbers = files.map((file) => recordedIn(file).log);
  await (await opened(t, files[0] ?? '')).close();

  t.equal(new Set(numbers).size, 5);
  t.equal(recordedIn(files[0] ?? '').log, numbers[0]);
});
