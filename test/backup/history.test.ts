import { existsSync, mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { openAgain, openHistoryAgain } from '../faults/again.ts';
import { judgeFiles, judgeHistory, listen, nothingSaid, type Said } from '../faults/verdict.ts';
import { batchOf, PERIOD_MS } from '../faults/workload.ts';
import { Running } from '../support/process.ts';
import { until } from '../support/wait.ts';
import { backUp, folderOf, restore, verified } from './support.ts';

/** More of it in a full run. */
const SAMPLES = Number(process.env['BACKUP_SAMPLES'] ?? 40_000);
const BACKUPS = Number(process.env['BACKUPS'] ?? 2);
const MOMENTS = Array.from({ length: BACKUPS }, (_, i) => (i + 0.5) / BACKUPS);
const CHILD = join(import.meta.dirname, '../faults/cut-child.ts');
/** Samples are a second apart; the last of those that are recorded later is in the past, too. */
const START = Math.floor((Date.now() - 3 * SAMPLES * 1_000) / PERIOD_MS) * PERIOD_MS;
/** Samples that the restored gateway records. */
const LATER = 500;

function saidIn(marks: string): Said {
  const said = nothingSaid();
  if (existsSync(marks)) listen(said, readFileSync(marks, 'utf8'));
  return said;
}

/** The log of the restored gateway is read again first: until then something may be missing. */
async function settled(judge: () => Promise<string[]>): Promise<string[]> {
  let wrong: string[] = [];
  await until(
    'the log to be read again',
    async () => {
      wrong = await judge();
      return wrong.length === 0;
    },
    15_000,
  ).catch(() => {});
  return wrong;
}

/** Opens what was restored, records a little more, and says what is wrong with the history then, and after a restart. */
async function judged(folder: string, said: Said, from: number): Promise<string[]> {
  const wrong: string[] = [];
  for (const round of [0, 1]) {
    const outbox = await openAgain(folder);
    const history = await openHistoryAgain(folder, outbox, { headSamples: 1_000 });
    const first = from + round * LATER;
    listen(said, `take ${first} ${LATER}\nkept ${first} ${LATER}`);
    await outbox.record(batchOf(first, LATER, START));
    wrong.push(...(await settled(async () => judgeHistory(history, said, START))));
    await history.close();
    await outbox.close();
  }
  return [...wrong, ...judgeFiles(folder)];
}

t.test(
  'a backup while the history is filed, rolled up and sealed holds each sample once',
  { timeout: 60_000 + SAMPLES * 4 },
  async (t) => {
    const folder = folderOf(t);
    const data = join(folder, 'data');
    mkdirSync(data);
    const marks = join(folder, 'marks');
    const child = new Running(process.execPath, [CHILD, data, marks, '0', `${SAMPLES}`, `${START}`], {
      env: { ...process.env, NODE_OPTIONS: '' },
    });
    t.teardown(async () => child.stop('SIGKILL'));

    const taken: { readonly path: string; readonly said: Said }[] = [];
    for (const moment of MOMENTS) {
      await until(`${moment} of the samples`, () => saidIn(marks).kept.size > SAMPLES * moment, 60_000);
      const before = saidIn(marks);
      const path = join(folder, `backup-${moment}.tar`);
      await backUp(data, path);
      taken.push({ path, said: { ...before, take: saidIn(marks).take } });
    }
    t.equal(await child.ended, 0, 'the gateway was not disturbed');

    for (const [i, { path, said }] of taken.entries()) {
      const into = join(folder, `into-${i}`);
      await restore(path, into);
      const { manifest } = await verified(path);
      const held = said.kept.size;
      const wrong = await judged(into, said, SAMPLES * 2);
      t.strictSame(
        wrong,
        [],
        `${held} samples were acknowledged before the backup of ${manifest.files.length} databases`,
      );
    }
    t.ok(readdirSync(join(data, 'raw')).length > 1 && existsSync(join(data, 'hour')));
  },
);
