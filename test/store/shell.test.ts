import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import { BatchBuilder } from '../../src/core/batch.ts';
import { UNCERTAIN, reasonCode } from '../../src/core/quality.ts';
import { missingPeer } from '../support/peer.ts';
import { START, batchOf, directory, drain, opened } from './fixture.ts';

function shell(file: string, query: string): string {
  const ran = spawnSync('sqlite3', ['-readonly', '-separator', ' | ', file, query], { encoding: 'utf8' });
  if (ran.status !== 0) throw new Error(ran.stderr);
  return ran.stdout.trimEnd();
}

t.test(
  'a person reads the outbox in the stock shell, while it runs',
  { skip: missingPeer('sqlite3', 'sqlite3') },
  async (t) => {
    const file = join(directory(t), 'telemetry.db');
    const outbox = await opened(t, file);
    const upstream = await outbox.consumer('upstream', 'platform');
    await outbox.append(batchOf(0, 20));
    await drain(upstream, 'live');
    await outbox.append(batchOf(0, 1));
    const builder = new BatchBuilder();
    builder.addText(0, 1, 'größer');
    const batch = builder.take();
    if (batch !== undefined) await outbox.append(batch);
    await outbox.append(batchOf(0, 5_000));
    await outbox.appendEvent('event/alarm', '{"type":"alarm"}');

    const rows = shell(
      file,
      "SELECT kind, first_seq, last_seq, messages, samples, text FROM outbox WHERE first_seq IN (3, 4) OR kind = 'event'",
    );
    const [time = ''] = shell(file, 'SELECT time FROM outbox ORDER BY id DESC LIMIT 1').split('\n');
    const compressed = shell(
      file,
      'SELECT max(bytes < length(CAST(text AS BLOB))) FROM outbox WHERE samples > 4000',
    );
    const counted = shell(
      file,
      "SELECT sum(length(text) - length(replace(text, char(10), ''))) = sum(messages) FROM outbox",
    );

    t.equal(
      rows,
      [
        'telemetry | 3 | 3 | 1 | 1 | telemetry/meter-0 {"seq":3,"samples":[{"point":"voltage-0","time":1795516800000,"value":0,"unit":"V","quality":"good"}]}\n',
        'telemetry | 4 | 4 | 1 | 1 | telemetry/meter-0 {"seq":4,"samples":[{"point":"voltage-0","time":1,"value":"größer","unit":"V","quality":"good"}]}\n',
        'event |  |  | 1 | 0 | event/alarm {"type":"alarm"}',
      ].join('\n'),
    );
    t.match(time, /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}$/);
    t.equal(compressed, '1', 'bodies are compressed, and the shell inflates them');
    t.equal(counted, '1');
    t.match(shell(file, 'SELECT name, note FROM consumer'), 'upstream | platform');
    t.match(shell(file, "SELECT value FROM meta WHERE key = 'next_seq'"), /^\d+$/);
  },
);

t.test(
  'the file is written with an fsync per commit, in pages that suit small commits',
  { skip: missingPeer('sqlite3', 'sqlite3') },
  async (t) => {
    const file = join(directory(t), 'telemetry.db');
    const outbox = await opened(t, file);
    await outbox.close();

    t.equal(
      shell(file, 'PRAGMA journal_mode; PRAGMA page_size; PRAGMA user_version; PRAGMA integrity_check'),
      'wal\n4096\n3\nok',
    );
  },
);

t.test(
  'a person reads in the stock shell what was recorded, while it runs',
  { skip: missingPeer('sqlite3', 'sqlite3') },
  async (t) => {
    const file = join(directory(t), 'telemetry.db');
    const outbox = await opened(t, file);
    const builder = new BatchBuilder();
    builder.addNumber(0, START + 1, 230.1);
    builder.addNumber(1, START + 1, -1.5e-7);
    builder.addBoolean(2, START + 1, true);
    builder.addBoolean(3, START + 1, false);
    builder.addText(4, START + 2, 'größer');
    builder.addText(5, START + 2, '9007199254740993');
    builder.addBad(6, START + 2, reasonCode('timeout'));
    builder.addNumber(7, START + 86_400_999, 7, UNCERTAIN, reasonCode('stale'));
    const batch = builder.take();
    if (batch !== undefined) await outbox.record(batch);
    await outbox.record(batchOf(0, 5_000));

    const rows = shell(
      file,
      'SELECT device, point, time, value, unit, quality, reason, typeof(value) FROM recent LIMIT 8',
    );
    const sums = shell(
      file,
      "SELECT count(*), sum(value), min(time), max(time) FROM recent WHERE point = 'voltage-7' AND quality = 'good'",
    );
    const compressed = shell(file, 'SELECT max(length(body) < len) FROM sample_log WHERE samples = 5000');

    t.equal(
      rows,
      [
        'meter-0 | voltage-0 | 2026-11-24 10:40:00.001 | 230.1 | V | good |  | real',
        'meter-0 | voltage-1 | 2026-11-24 10:40:00.001 | -1.5e-07 | V | good |  | real',
        'meter-0 | voltage-2 | 2026-11-24 10:40:00.001 | 1 | V | good |  | integer',
        'meter-0 | voltage-3 | 2026-11-24 10:40:00.001 | 0 | V | good |  | integer',
        'meter-0 | voltage-4 | 2026-11-24 10:40:00.002 | größer | V | good |  | text',
        'meter-0 | voltage-5 | 2026-11-24 10:40:00.002 | 9007199254740993 | V | good |  | text',
        'meter-0 | voltage-6 | 2026-11-24 10:40:00.002 |  | V | bad | timeout | null',
        'meter-0 | voltage-7 | 2026-11-25 10:40:00.999 | 7 | V | uncertain | stale | integer',
      ].join('\n'),
    );
    // k = 7, 17, …, 4997: 500 of them, each at START + k.
    const sum = 500 * ((7 + 4_997) / 2);
    t.equal(sums, `500 | ${sum} | 2026-11-24 10:40:00.007 | 2026-11-24 10:40:04.997`);
    t.equal(compressed, '1', 'bodies are compressed, and the shell inflates them');
  },
);
