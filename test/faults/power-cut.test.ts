import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { randomOf } from '../bench/plant-signals.ts';
import { directory } from '../store/fixture.ts';
import { missingPeer } from '../support/peer.ts';
import { openAgain, openHistoryAgain } from './again.ts';
import { type Model, SimulatedDisk } from './disk.ts';
import { type Cut, type Life, callsOn, choose, cutPower, live } from './power-cut.ts';
import { compileTracer } from './trace.ts';
import { type Said, judgeFiles, judgeHistory, judgeOutbox, nothingSaid } from './verdict.ts';
import { PERIOD_MS } from './workload.ts';

// POWER_CUTS=200 cuts the power so often, which takes minutes; SEED repeats what a run has chosen.

const CUTS = Number(process.env['POWER_CUTS'] ?? 20);
const SEED = Number(process.env['SEED'] ?? Date.now() % 1_000_000);
const DAY_MS = 86_400_000;
/** Five hours before a midnight that is long over: every hour has ended, and a run sees two days. */
const START =
  Math.floor((Math.floor(Date.now() / DAY_MS) * DAY_MS - DAY_MS - DAY_MS / 5) / PERIOD_MS) * PERIOD_MS;

const skip = missingPeer('gcc', 'gcc') || missingPeer('sqlite3', 'sqlite3');

async function lifeOf(t: Test, args: readonly string[]): Promise<Life> {
  const folder = directory(t);
  const before = join(folder, 'disk');
  mkdirSync(before);
  return live(compileTracer(folder), 'cut-child.ts', before, args);
}

/** The outbox alone, on the disk of a cut. */
async function judgedOutbox({ folder }: Cut, said: Said): Promise<string[]> {
  const outbox = await openAgain(folder);
  let wrong: string[];
  try {
    wrong = await judgeOutbox(outbox, said, START);
  } finally {
    await outbox.close();
  }
  return [...wrong, ...judgeFiles(folder)];
}

/** The outbox with its history. */
async function judged({ folder }: Cut, said: Said): Promise<string[]> {
  const outbox = await openAgain(folder);
  const wrong: string[] = [];
  try {
    const history = await openHistoryAgain(folder, outbox);
    try {
      wrong.push(...(await judgeHistory(history, said, START)));
    } finally {
      await history.close();
    }
    wrong.push(...(await judgeOutbox(outbox, said, START)));
  } finally {
    await outbox.close();
  }
  return [...wrong, ...judgeFiles(folder)];
}

t.test('the trace holds everything that the store did to its files', { skip }, async (t) => {
  const life = await lifeOf(t, ['0', '5000', `${START}`, 'outbox']);
  const disk = new SimulatedDisk(life.root, life.before, { names: 'at once' });

  for (const call of life.calls) disk.apply(call);

  t.same(disk.differences(), []);
  t.ok(life.calls.filter(({ kind }) => kind === 'sync ended').length > 10);
  t.ok(callsOn(life, /telemetry\.db-wal$/).length > 100);
  t.ok(readFileSync(join(life.root, 'telemetry.db')).length > 0);
});

t.test(
  'a disk that drops, tears and reorders what was not flushed takes nothing acknowledged from the outbox',
  { skip },
  async (t) => {
    const life = await lifeOf(t, ['0', '20000', `${START}`, 'outbox']);
    const moments = choose([...life.calls.keys()], Math.ceil(CUTS / 3), randomOf(SEED));
    const models: Record<string, Model> = {
      honest: { names: 'strict' },
      lying: { names: 'journal', lies: () => true },
      // What SQLite does where nobody asks it for more: a commit does not flush the log.
      normal: { names: 'at once', lies: (path) => path.endsWith('-wal') },
    };

    for (const [disk, model] of Object.entries(models)) {
      let broken = 0;
      await cutPower(life, moments, { model, seed: SEED, said: nothingSaid() }, async (cut, said) => {
        const wrong = await judgedOutbox(cut, said);
        if (wrong.length === 0) return;
        broken++;
        if (disk === 'honest') t.fail(`SEED=${SEED}, call ${cut.at}`, { wrong });
      });
      if (disk !== 'honest')
        t.ok(
          broken >= moments.length / 2,
          `${broken} of ${moments.length} cuts of a ${disk} disk are found out`,
        );
    }
  },
);

t.test(
  'after a power cut the history holds every sample that was recorded, once, and rollups that are theirs',
  { skip, timeout: 60_000 + CUTS * 5_000 },
  async (t) => {
    const random = randomOf(SEED + 1);
    const life = await lifeOf(t, ['0', '24000', `${START}`]);
    const disk = new SimulatedDisk(life.root, life.before, { names: 'at once' });
    for (const call of life.calls) disk.apply(call);
    t.same(disk.differences(), [], 'the trace holds everything that the store did to its files');

    const files = callsOn(life, /^\/(raw|minute|hour|history)/);
    const moments = [...choose([...life.calls.keys()], CUTS / 4, random), ...choose(files, CUTS / 4, random)];
    moments.sort((a, b) => a - b);
    for (const names of ['journal', 'strict'] as const) {
      const plan = { model: { names }, seed: SEED, said: nothingSaid() };
      await cutPower(life, moments, plan, async (cut, said) => {
        const wrong = await judged(cut, said);
        if (wrong.length > 0) t.fail(`names ${names}, SEED=${SEED}, call ${cut.at}`, { wrong });
      });
    }
  },
);
