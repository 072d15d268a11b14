import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { copyFileSync, existsSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import t, { type Test } from 'tap';
import { mebibytes, milliseconds } from '../../src/core/units.ts';
import { missingPeer } from '../support/peer.ts';
import { cannotMount, fillDisk, mountSmallDisk } from '../support/small-disk.ts';
import { until } from '../support/wait.ts';
import {
  batchOf,
  countTo,
  directory,
  drain,
  drainWaiting,
  listeningLog,
  messagesIn,
  noiseOf,
  opened,
  seqsIn,
} from './fixture.ts';
import { recordedIn } from './recorded.ts';

/** A person with a shell who begins to read and goes for lunch. */
class Reader {
  readonly #shell: ChildProcessByStdio<Writable, Readable, null>;
  #said = '';

  constructor(t: Test, file: string, ...options: string[]) {
    this.#shell = spawn('sqlite3', [...options, file], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#shell.stdout.on('data', (chunk: Buffer) => {
      this.#said += chunk.toString();
    });
    t.teardown(() => this.#shell.kill('SIGKILL'));
  }

  async ask(query: string): Promise<string> {
    this.#said = '';
    this.#shell.stdin.write(`${query};\nSELECT 'end of answer';\n`);
    await until('the shell answers', () => this.#said.includes('end of answer\n'));
    return this.#said.replace('end of answer\n', '').trim();
  }

  async leave(): Promise<void> {
    const gone = new Promise((resolve) => this.#shell.once('close', resolve));
    this.#shell.stdin.end();
    await gone;
  }
}

function folderBytes(file: string): number {
  const folder = dirname(file);
  return readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
}

t.test(
  'somebody who reads for hours makes nothing grow and loses nobody a sample',
  { skip: missingPeer('sqlite3', 'sqlite3') },
  async (t) => {
    const file = join(directory(t), 'telemetry.db');
    const log = listeningLog();
    const limit = mebibytes(8);
    const outbox = await opened(t, file, { limit, log, commitEvery: milliseconds(1) });
    const upstream = await outbox.consumer('upstream');
    await outbox.consumer('absent');
    await outbox.append(batchOf(0, 10));
    const readers = [new Reader(t, file), new Reader(t, file, '-readonly')];
    for (const reader of readers) t.equal(await reader.ask('BEGIN; SELECT count(*) FROM journal'), '1');

    let largest = 0;
    const live: number[] = [];
    for (const k of countTo(2_000)) {
      await Promise.all([outbox.append(batchOf(k * 10, 10)), outbox.record(batchOf(k * 10, 10))]);
      if (k % 50 > 0) continue;
      largest = Math.max(largest, folderBytes(file));
      live.push(...seqsIn(await drain(upstream, 'live')));
    }
    const { commits, messagesDropped, nextSeq } = await outbox.state();
    const stillThere = await readers[0]?.ask('SELECT count(*) FROM journal');
    for (const reader of readers) await reader.leave();
    await outbox.append(batchOf(90_000, 10));
    await outbox.close();
    const again = await opened(t, file, { limit });
    const absent = await again.consumer('absent');
    await absent.rewind();
    const waited = seqsIn(await drainWaiting(absent));

    t.ok(commits > 1_900, `${commits} commits`);
    t.ok(largest < limit, `the folder took ${largest} bytes at most`);
    t.equal(stillThere, '1', 'the reader sees what it saw when it began');
    t.same(live, countTo(nextSeq - 1), 'delivery goes on, each message once');
    t.equal(messagesDropped, 0);
    t.same(waited, countTo(nextSeq), 'and whoever was absent finds everything');
    t.same(
      recordedIn(file).samples.map(({ value }) => value),
      countTo(20_009, 10),
      'every sample is recorded once',
    );
    t.same(
      log.lines.map(({ what }) => what),
      ['somebody reads the outbox for long: it goes on in a copy of the file'],
      'it is said once',
    );
  },
);

t.test(
  'a copy that a power cut left half way is put in its place, without the log of the old file',
  async (t) => {
    const whole = join(directory(t), 'telemetry.db');
    const outbox = await opened(t, whole);
    await outbox.consumer('upstream');
    for (const k of countTo(20)) await outbox.append(batchOf(k * 10, 10));
    await outbox.close();

    for (const moment of ['before its log is removed', 'after it']) {
      const file = join(directory(t), 'telemetry.db');
      const old = await opened(t, file);
      await old.consumer('upstream');
      for (const k of countTo(30)) await old.append(noiseOf(k, 1));
      const names = moment === 'after it' ? ['telemetry.db'] : ['telemetry.db', 'telemetry.db-wal'];
      const aside = directory(t);
      for (const name of names) copyFileSync(join(dirname(file), name), join(aside, name));
      await old.close();
      for (const name of names) renameSync(join(aside, name), join(dirname(file), name));
      copyFileSync(whole, `${file}.ready`);
      const sizes = names.map((name) => statSync(join(dirname(file), name)).size);

      const again = await opened(t, file);
      const upstream = await again.consumer('upstream');
      await upstream.rewind();
      const waited = messagesIn(await drainWaiting(upstream));

      t.ok(
        sizes.every((size) => size > 0),
        moment,
      );
      t.same(
        waited.map(({ samples }) => samples.length),
        countTo(20).map(() => 10),
      );
      t.notOk(existsSync(`${file}.ready`));
      await again.close();
    }
  },
);

t.test('a file that is mostly free after a long outage is made smaller, once', async (t) => {
  const file = join(directory(t), 'telemetry.db');
  const log = listeningLog();
  const outbox = await opened(t, file, { limit: mebibytes(64), shrinkFrom: mebibytes(4), log });
  const upstream = await outbox.consumer('upstream', 'platform');
  await outbox.record(batchOf(0, 100));
  for (const k of countTo(200)) await outbox.append(noiseOf(k * 200, 200));
  const large = folderBytes(file);

  const live = seqsIn(await drain(upstream, 'live'));
  await until('it is small', async () => {
    await outbox.append(batchOf(0, 1));
    return statSync(file).size < large / 3;
  });
  live.push(...seqsIn(await drain(upstream, 'live')));
  await outbox.record(batchOf(100, 100));
  const { nextSeq } = await outbox.state();
  await outbox.close();

  t.ok(large > 8 * 1_048_576);
  t.same(live, countTo(nextSeq - 1));
  t.same(
    recordedIn(file).samples.map(({ value }) => value),
    countTo(199, 0),
  );
  t.equal(recordedIn(file).starts.length, 1, 'it is the same run');
  t.same(
    log.lines.map(({ what }) => what),
    ['the file of the outbox was mostly free and is made smaller'],
  );
});

t.test(
  'a file that was opened on a full disk can be read by others when there is room again',
  { skip: cannotMount() },
  async (t) => {
    const disk = join(directory(t), 'disk');
    const mounted = mountSmallDisk(disk, 16);
    t.teardown(() => mounted.unmount());
    const file = join(disk, 'telemetry.db');
    const before = await opened(t, file);
    await before.consumer('upstream');
    await before.append(batchOf(0, 100));
    await before.close();
    rmSync(join(disk, 'telemetry.spare'));
    const stone = fillDisk(disk, 0);
    const log = listeningLog();

    const outbox = await opened(t, file, { log });
    const upstream = await outbox.consumer('upstream');
    const pending = outbox.record(batchOf(0, 10));
    const readable = (): boolean => {
      try {
        return recordedIn(file).samples.length > 0;
      } catch {
        return false;
      }
    };
    t.notOk(readable());
    rmSync(stone);
    await pending;
    await until('others can read it', async () => {
      await outbox.append(batchOf(100, 1));
      return readable();
    });
    await upstream.rewind();
    const messages = messagesIn(await drainWaiting(upstream));

    t.same(messages.map(({ seq }) => seq).slice(0, 11), countTo(11));
    t.ok(log.lines.some(({ what }) => what === 'the outbox database can be read by others again'));
  },
);
