import { rmSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { SluiceError } from '../../src/core/errors.ts';
import { mebibytes } from '../../src/core/units.ts';
import { gapsIn } from '../../src/store/gaps.ts';
import { openForWriting } from '../../src/store/open.ts';
import { cannotMount, fillDisk, mountSmallDisk } from '../support/small-disk.ts';
import { until } from '../support/wait.ts';
import {
  START,
  batchOf,
  countTo,
  directory,
  drain,
  drainWaiting,
  listeningLog,
  messagesIn,
  noiseOf,
  opened,
} from './fixture.ts';
import { recordedIn } from './recorded.ts';

function smallDisk(t: Test, megabytes: number): string {
  const path = join(directory(t), 'disk');
  const disk = mountSmallDisk(path, megabytes);
  t.teardown(() => disk.unmount());
  return path;
}

/** An outage for each run of lost samples: on a disk that fills slowly some find room in between. */
function outagesOf(lost: readonly number[]): unknown[] {
  const runs: { from: number; to: number }[] = [];
  for (const k of lost.toSorted((a, b) => a - b)) {
    const run = runs.at(-1);
    if (run && run.to === k - 1) run.to = k;
    else runs.push({ from: k, to: k });
  }
  return runs.map(({ from, to }) => ({
    from: START + from,
    to: START + to,
    samples: to - from + 1,
    reason: 'disk full',
  }));
}

t.test(
  'on a full disk nothing hangs, the loss is told, and writing resumes by itself',
  { skip: cannotMount() },
  async (t) => {
    const disk = smallDisk(t, 48);
    const file = join(disk, 'telemetry.db');
    const log = listeningLog();
    const outbox = await opened(t, file, { limit: mebibytes(64), log });
    const upstream = await outbox.consumer('upstream');
    const kept = new Set<number>();
    const refused: SluiceError[] = [];
    let lost = 0;
    const appends: Promise<void>[] = [];
    const append = (first: number): void => {
      const settle = async (): Promise<void> => {
        try {
          await outbox.append(noiseOf(first, 100));
          for (const k of countTo(first + 99, first)) kept.add(k);
        } catch (error) {
          if (!(error instanceof SluiceError)) throw error;
          refused.push(error);
          lost += 100;
        }
      };
      appends.push(settle());
    };

    append(0);
    await Promise.all(appends);
    const stone = fillDisk(disk, 300_000);
    for (let i = 1; i <= 500; i++) append(i * 100);
    const failing = await until('the outbox says that it fails', async () => (await outbox.state()).failing);
    for (let i = 501; i <= 1_000; i++) append(i * 100);
    await until('the oldest is given up', () => refused.length > 0);
    const delivered = messagesIn(await drain(upstream, 'live'));
    rmSync(stone);
    await until('it writes again', async () => (await outbox.state()).failing === null);
    await outbox.append(batchOf(200_000, 100));
    await Promise.all(appends);
    delivered.push(...messagesIn(await drain(upstream, 'live')));

    const { nextSeq, samplesLost } = await outbox.state();
    const came = new Set(delivered.flatMap(({ samples }) => samples));
    const gaps = delivered.flatMap(({ gap }) => gap ?? []);
    const known = [
      ...delivered.flatMap(({ seq }) => seq ?? []),
      ...gaps.flatMap(({ from, to }) => countTo(to, from)),
    ];
    t.match(failing, /cannot write .*telemetry\.db.*free space/);
    t.ok(
      refused.every(({ code }) => code === 'OUTBOX_FULL'),
      `${refused.length} appends were refused`,
    );
    t.equal(samplesLost, lost, 'the loss is counted');
    t.ok(kept.size > 30_000, `${kept.size} samples were kept, most of them in memory`);
    t.same(
      [...kept].filter((k) => !came.has(k)),
      [],
      'what was acknowledged came',
    );
    t.ok(gaps.length > 0 && gaps.every(({ reason }) => reason === 'disk full'));
    t.same(
      known.sort((a, b) => a - b),
      countTo(nextSeq - 1),
      'every number came or was told, once',
    );
    const lines = log.lines.map(({ what }) => what);
    const [failed, resumed] = ['the outbox is failing and tries again', 'the outbox writes again'];
    const [used, taken] = [
      'the disk is full: the outbox goes on in its spare room',
      'the outbox has its spare room again',
    ];
    for (const [bad = '', good = ''] of [
      [failed, resumed],
      [used, taken],
    ]) {
      const both = lines.filter((line) => line === bad || line === good);
      t.ok(
        both.every((line, i) => line === (i % 2 === 0 ? bad : good)),
        'and the log says it when it changes',
      );
    }
    t.equal(lines.filter((line) => line === failed).length, lines.filter((line) => line === resumed).length);
    t.ok(lines.every((line) => [failed, resumed, used, taken].includes(line)));
    t.ok(lines.length <= 6, `${lines.length} lines`);
    await outbox.close();
    const db = openForWriting(file, 8 * 1_048_576);
    t.equal(db.pragma('integrity_check', { simple: true }), 'ok');
    db.close();
  },
);

t.test(
  'on a full disk the history hears of it, and samples that cannot be kept are remembered as an outage',
  { skip: cannotMount() },
  async (t) => {
    const disk = smallDisk(t, 96);
    const file = join(disk, 'telemetry.db');
    let heard = 0;
    const outbox = await opened(t, file, { limit: mebibytes(64), onFull: () => heard++ });
    await outbox.consumer('upstream');
    const kept: number[] = [];
    const lost: number[] = [];
    const refused: unknown[] = [];
    const under: Promise<unknown>[] = [];
    const record = (first: number): void => {
      const ks = countTo(first + 99, first);
      const settled = outbox.record(noiseOf(first, 100)).then(
        () => kept.push(...ks),
        (error: unknown) => {
          refused.push(error);
          lost.push(...ks);
        },
      );
      under.push(settled);
      if (first % 500 === 0) outbox.append(noiseOf(first, 20)).catch(() => {});
    };

    record(0);
    await Promise.all(under);
    const before = heard;
    const stone = fillDisk(disk, 300_000);
    for (let i = 1; i <= 500; i++) record(i * 100);
    await until('the outbox says that it fails', async () => (await outbox.state()).failing);
    for (let i = 501; i <= 1_000; i++) record(i * 100);
    await until('the oldest is given up', () => lost.length > 0);
    const told = heard;
    rmSync(stone);
    await until('it writes again', async () => (await outbox.state()).failing === null);
    record(200_000);
    await Promise.all(under);
    const { samplesRecorded, samplesUnrecorded } = await outbox.state();
    await outbox.close();

    const { samples, outages } = recordedIn(file);
    t.equal(before, 0);
    for (const error of refused.slice(0, 3))
      t.match(error, { code: 'OUTBOX_FULL', message: /samples were given up: cannot write/ });
    t.ok(told > 0, `the history was asked ${told} times to give something up`);
    t.same([samplesRecorded, samplesUnrecorded], [kept.length, lost.length]);
    t.same(
      samples.map(({ value }) => Number.parseInt(String(value), 10)),
      kept.toSorted((a, b) => a - b),
      'what was acknowledged is there, once, in order',
    );
    t.same(outages, outagesOf(lost), 'what was lost is told, and nothing that is there');
  },
);

t.test(
  'a disk that fills again and again, at any moment, never costs what was acknowledged',
  { skip: cannotMount() },
  async (t) => {
    const disk = smallDisk(t, 12);
    const file = join(disk, 'telemetry.db');
    const outbox = await opened(t, file, { limit: mebibytes(64) });
    const upstream = await outbox.consumer('upstream');
    const kept: number[] = [];

    const delivered = [];
    for (let round = 0; round < 12; round++) {
      const stone = fillDisk(disk, 20_000 + 30_000 * round);
      const appends = countTo(9, 0).map(async (i) => {
        const first = (round * 10 + i) * 100;
        await Promise.all([outbox.append(noiseOf(first, 100)), outbox.record(noiseOf(first, 100))]);
        kept.push(...countTo(first + 99, first));
      });
      if (round % 3 === 0)
        await until('it fails or is done', async () => {
          const { failing, samplesCommitted } = await outbox.state();
          return failing !== null || samplesCommitted === (round + 1) * 1_000;
        });
      delivered.push(...messagesIn(await drain(upstream, 'live')));
      rmSync(stone);
      await Promise.all(appends);
    }
    await outbox.close();
    const again = await opened(t, file);
    const same = await again.consumer('upstream');
    await same.rewind();
    delivered.push(...messagesIn(await drainWaiting(same)));

    const came = new Set(delivered.flatMap(({ samples }) => samples));
    t.equal(kept.length, 12_000);
    t.same(
      kept.filter((k) => !came.has(k)),
      [],
    );
    t.same(
      recordedIn(file).samples.map(({ value }) => Number.parseInt(String(value), 10)),
      kept.toSorted((a, b) => a - b),
      'and every sample is recorded once',
    );
    t.same(
      [...new Set(delivered.flatMap(({ seq }) => seq ?? []))].sort((a, b) => a - b),
      countTo((await again.state()).nextSeq - 1),
    );
  },
);

t.test(
  'an outbox that filled its disk goes on when what it holds is delivered, though nobody frees any room',
  { skip: cannotMount() },
  async (t) => {
    const disk = smallDisk(t, 16);
    const log = listeningLog();
    const outbox = await opened(t, join(disk, 'telemetry.db'), { limit: mebibytes(64), log });
    const upstream = await outbox.consumer('upstream');
    const refused: unknown[] = [];
    let appended = 0;
    const append = (): void => {
      outbox.append(noiseOf(100 * appended++, 100)).catch((error: unknown) => refused.push(error));
    };
    await until('the disk is full', async () => {
      append();
      return (await outbox.state()).failing;
    });
    const { bavail } = statfsSync(disk);

    await upstream.rewind();
    const delivered = messagesIn(await drainWaiting(upstream));
    await until('it writes again', async () => (await outbox.state()).failing === null);
    for (let round = 0; round < 4; round++) {
      // Each round more than the disk had left; what was delivered makes room for it.
      for (let i = 0; i < 100; i++) append();
      await until('it is on disk', async () => (await outbox.state()).samplesCommitted === 100 * appended);
      delivered.push(...messagesIn(await drain(upstream, 'live')));
    }

    t.equal(bavail, 0);
    t.same(refused, []);
    t.same(new Set(delivered.flatMap(({ samples }) => samples)).size, 100 * appended);
    t.same(
      delivered.map(({ seq }) => seq),
      countTo((await outbox.state()).nextSeq - 1),
    );
    t.ok(log.lines.some(({ what }) => what.includes('spare room')));
  },
);

t.test('a gateway that starts on a full disk has its spare room', { skip: cannotMount() }, async (t) => {
  const disk = smallDisk(t, 16);
  const file = join(disk, 'telemetry.db');
  const before = await opened(t, file);
  await before.consumer('upstream');
  await before.append(batchOf(0, 100));
  await before.close();
  fillDisk(disk, 0);

  const outbox = await opened(t, file);
  const upstream = await outbox.consumer('upstream');
  await upstream.rewind();
  const history = messagesIn(await drainWaiting(upstream));
  await outbox.append(batchOf(100, 100));
  const live = messagesIn(await drain(upstream, 'live'));

  t.same(
    [...history, ...live].map(({ seq }) => seq),
    countTo(20),
  );
  t.equal((await outbox.state()).failing, null);
});

t.test(
  'a gateway that starts on a full disk delivers what it has and takes what comes',
  { skip: cannotMount() },
  async (t) => {
    const disk = smallDisk(t, 16);
    const file = join(disk, 'telemetry.db');
    const before = await opened(t, file);
    await before.consumer('upstream');
    await before.append(batchOf(0, 100));
    await before.close();
    rmSync(join(disk, 'telemetry.spare'));
    const stone = fillDisk(disk, 0);

    const outbox = await opened(t, file);
    const upstream = await outbox.consumer('upstream');
    await upstream.rewind();
    const history = messagesIn(await drainWaiting(upstream));
    const append = outbox.append(batchOf(100, 100));
    await until('it says that it fails', async () => (await outbox.state()).failing);
    rmSync(stone);
    await append;
    const live = messagesIn(await drain(upstream, 'live'));

    t.same(
      [...history, ...live].map(({ seq }) => seq),
      countTo(20),
    );
  },
);

t.test('when the store hangs, what cannot be kept is refused, counted and told', async (t) => {
  const outbox = await opened(t, join(directory(t), 'telemetry.db'));
  const upstream = await outbox.consumer('upstream');

  const appends = countTo(11).map(async () => outbox.append(batchOf(0, 100_000)));
  const outcomes = await Promise.allSettled(appends);
  const rows = await drain(upstream, 'live');
  // Only the start of each message: the samples are a hundred megabytes of JSON.
  const starts = rows.flatMap(({ messages }) =>
    messages.map(({ payload }) => Buffer.from(payload.subarray(0, 120)).toString()),
  );

  t.same(
    outcomes.map(({ status }) => status),
    [...countTo(10).map(() => 'fulfilled'), 'rejected'],
  );
  t.match(outcomes[10], { reason: { code: 'OUTBOX_FULL', message: /100000 samples were given up/ } });
  const { samplesLost, nextSeq } = await outbox.state();
  t.equal(samplesLost, 100_000);
  const seqs = starts.map((start) => Number(/^\{"seq":(\d+)/.exec(start)?.[1]));
  const gaps = starts.flatMap((start) => gapsIn(start));
  t.match(gaps, [{ reason: 'store too slow' }]);
  const known = [...seqs, ...gaps.flatMap(({ from, to }) => countTo(to, from))];
  t.same(
    known.sort((x, y) => x - y),
    countTo(nextSeq - 1),
  );
});
