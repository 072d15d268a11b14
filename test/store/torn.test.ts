import { copyFileSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t from 'tap';
import { silentLog } from '../../src/core/log.ts';
import { mebibytes } from '../../src/core/units.ts';
import { openStore } from '../../src/store/store.ts';
import { batchOf, countTo, directory, noiseOf, opened } from './fixture.ts';
import { recordedIn } from './recorded.ts';

const SECTOR = 512;
/** CUTS=400 for a night of it. */
const CUTS = Number(process.env['CUTS'] ?? 100);

/** The tail of a log whose sectors reached the disk in any order, or not at all; some are torn or rubbish. */
function torn(tail: Buffer, chance: number): Buffer {
  const left = Buffer.from(tail.subarray(0, Math.floor(Math.random() * tail.length)));
  for (let at = 0; at < left.length; at += SECTOR) {
    if (Math.random() < chance) continue;
    left.fill(Math.random() < 0.5 ? 0 : 0xa5, at, Math.min(left.length, at + SECTOR));
  }
  return left;
}

t.test(
  'a power cut that tears the end of the log takes nothing that was on disk when append resolved',
  async (t) => {
    const folder = directory(t);
    const file = join(folder, 'telemetry.db');
    const outbox = await opened(t, file, { limit: mebibytes(512) }); // so that no checkpoint moves the log meanwhile
    await outbox.consumer('upstream');
    const recorded: number[] = [];
    const acknowledged: { readonly log: number; readonly nextSeq: number; readonly recorded: number }[] = [];
    for (let i = 0; i < 60; i++) {
      const batch = i % 2 === 0 ? batchOf(i * 100, 100) : noiseOf(i * 100, 1 + (i % 7) * 30);
      const copy = structuredClone(batch);
      recorded.push(...batch.times);
      await Promise.all([outbox.append(batch), outbox.record(copy)]);
      acknowledged.push({
        log: statSync(`${file}-wal`).size,
        nextSeq: (await outbox.state()).nextSeq,
        recorded: recorded.length,
      });
    }
    const whole = { database: readFileSync(file), log: readFileSync(`${file}-wal`) };
    await outbox.close();

    let torndown = 0;
    for (const cut of countTo(CUTS)) {
      const moment = acknowledged[Math.floor(Math.random() * acknowledged.length)];
      if (moment === undefined) continue;
      const image = join(folder, `cut-${cut}`, 'telemetry.db');
      mkdirSync(dirname(image));
      writeFileSync(image, whole.database);
      const tail = torn(whole.log.subarray(moment.log), [0, 0.3, 0.7, 1][cut % 4] ?? 0);
      writeFileSync(`${image}-wal`, Buffer.concat([whole.log.subarray(0, moment.log), tail]));
      copyFileSync(join(folder, 'telemetry.seq'), join(dirname(image), 'telemetry.seq'));

      const store = openStore({ file: image, limit: mebibytes(16), log: silentLog });
      const { rows, broken } = store.journal.read([0, store.journal.head], Number.MAX_SAFE_INTEGER, 'all');
      const seqs = rows.flatMap(({ text }) =>
        [...text.toString().matchAll(/^\S+ \{"seq":(\d+),/gm)].map(([, seq]) => Number(seq)),
      );
      if (broken !== undefined || store.nextSeq < moment.nextSeq)
        t.fail(`cut ${cut}: ${store.nextSeq} < ${moment.nextSeq}`);
      if (seqs.length !== store.nextSeq - 1 || seqs.some((seq, i) => seq !== i + 1))
        t.fail(`cut ${cut}: ${seqs.join()}`);
      const { samples } = recordedIn(image);
      if (samples.length < moment.recorded || samples.some(({ time }, i) => time !== recorded[i]))
        t.fail(`cut ${cut}: ${samples.length} samples where ${moment.recorded} were recorded`);
      if (store.nextSeq < (acknowledged.at(-1)?.nextSeq ?? 0)) torndown++;
      store.close();
    }
    t.ok(
      torndown > CUTS / 4,
      `${torndown} of ${CUTS} cuts really took something that was not acknowledged yet`,
    );
  },
);
