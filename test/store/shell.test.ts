import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import { BatchBuilder } from '../../src/core/batch.ts';
import { missingPeer } from '../support/peer.ts';
import { batchOf, directory, drain, opened } from './fixture.ts';

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
