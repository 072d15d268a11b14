import { cpSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { errorText } from '../../src/core/errors.ts';
import { randomOf } from '../bench/plant-signals.ts';
import { directory } from '../store/fixture.ts';
import { times } from '../support/long.ts';
import { missingPeer } from '../support/peer.ts';
import { openAgain, openHistoryAgain } from './again.ts';
import { type Model, type Names, SimulatedDisk } from './disk.ts';
import { type Cut, type Life, callsOn, choose, cutPower, live } from './power-cut.ts';
import { compileTracer } from './trace.ts';
import { type Said, copyOf, judgeFiles, judgeHistory, judgeOutbox, nothingSaid } from './verdict.ts';
import { PERIOD_MS } from './workload.ts';

// LONG=1 cuts the power 200 times, which takes some minutes, POWER_CUTS=50 as often as it says. SEED repeats the choices of a run, not its timing.

const CUTS = times('POWER_CUTS', 12, 200);
t.setTimeout(120_000 + CUTS * 6_000);
const SEED = Number(process.env['SEED'] ?? Date.now() % 1_000_000);
const DAY_MS = 86_400_000;
/** Five hours before a midnight that is long over: every hour has ended, and a run sees two days. */
const START =
  Math.floor((Math.floor(Date.now() / DAY_MS) * DAY_MS - DAY_MS - DAY_MS / 5) / PERIOD_MS) * PERIOD_MS;

const skip = missingPeer('gcc', 'gcc') || missingPeer('sqlite3', 'sqlite3');

/** Cuts of a disk that does not flush; hardly one of them loses nothing. */
const LATE_CUTS = 4;

/** Of the cuts of one test. */
const share = (of: number): number => Math.ceil(CUTS * of);

interface Place {
  readonly tracer: string;
  /** Of a disk without files. */
  readonly empty: string;
}

function placeOf(t: Test): Place {
  const folder = directory(t);
  const empty = join(folder, 'disk');
  mkdirSync(empty);
  return { tracer: compileTracer(folder), empty };
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
  const { tracer, empty } = placeOf(t);
  const life = await live(tracer, 'cut-child.ts', empty, ['0', '5000', `${START}`, 'outbox']);
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
    const { tracer, empty } = placeOf(t);
    const life = await live(tracer, 'cut-child.ts', empty, ['0', '20000', `${START}`, 'outbox']);
    const calls = [...life.calls.keys()];
    const moments = choose(calls, share(0.25), randomOf(SEED));
    // Late ones: something that can be lost was acknowledged by then, though not every cut loses it.
    const late = choose(calls.slice(calls.length / 2), Math.max(LATE_CUTS, share(0.25)), randomOf(SEED));
    const models: Record<string, Model> = {
      honest: { names: 'strict' },
      lying: { names: 'journal', lies: () => true },
      // What SQLite does where nobody asks it for more: a commit does not flush the log.
      normal: { names: 'at once', lies: (path) => path.endsWith('-wal') },
    };

    for (const [disk, model] of Object.entries(models)) {
      let broken = 0;
      const cuts = disk === 'honest' ? moments : late;
      await cutPower(life, cuts, { model, seed: SEED, said: nothingSaid() }, async (cut, said) => {
        const wrong = await judgedOutbox(cut, said);
        if (wrong.length === 0) return;
        broken++;
        if (disk === 'honest') t.fail(`SEED=${SEED}, call ${cut.at}`, { wrong });
      });
      if (disk !== 'honest')
        t.ok(broken > 0, `${broken} of ${late.length} cuts of a ${disk} disk are found out`);
    }
  },
);

/** Moments of which half have to do with the files of the history. */
function momentsOf(life: Life, count: number, seed: number): number[] {
  const random = randomOf(seed);
  const files = callsOn(life, /^\/(raw|minute|hour|history)/);
  const half = Math.ceil(count / 2);
  const moments = [...choose(files, half, random), ...choose([...life.calls.keys()], count - half, random)];
  return moments.sort((a, b) => a - b);
}

t.test(
  'after a power cut the history holds every sample that was recorded, once, and rollups that are theirs',
  { skip, timeout: 60_000 + CUTS * 5_000 },
  async (t) => {
    const { tracer, empty } = placeOf(t);
    const first = await live(tracer, 'cut-child.ts', empty, ['0', '16000', `${START}`]);
    const disk = new SimulatedDisk(first.root, first.before, { names: 'at once' });
    for (const call of first.calls) disk.apply(call);
    t.same(disk.differences(), [], 'the trace holds everything that the store did to its files');

    const again = { folder: `${empty}-again`, said: nothingSaid() };
    const judgeAll = async (life: Life, count: number, names: Names, heard: () => Said): Promise<void> => {
      const moments = momentsOf(life, count, SEED);
      const plan = { model: { names }, seed: SEED, said: heard() };
      await cutPower(life, moments, plan, async (cut, said) => {
        if (cut.seed === SEED + moments.length - 2 && life === first && names === 'strict') {
          cpSync(cut.folder, again.folder, { recursive: true });
          again.said = copyOf(said);
        }
        const wrong = await judged(cut, said);
        if (wrong.length > 0) t.fail(`names ${names}, SEED=${SEED}, call ${cut.at}`, { wrong });
      });
    };
    await judgeAll(first, share(0.25), 'journal', nothingSaid);
    await judgeAll(first, share(0.4), 'strict', nothingSaid);

    // The power fails again, perhaps while the gateway still repairs what the first cut has left.
    const next = `${Math.max(0, ...again.said.take) + 1}`;
    const second = await live(tracer, 'cut-child.ts', again.folder, [next, '6000', `${START}`]);
    await judgeAll(second, share(0.35), 'strict', () => copyOf(again.said));

    let found = 0;
    const lying: Model = { names: 'journal', lies: () => true };
    const late = choose([...first.calls.keys()].slice(first.calls.length / 2), share(0.1), randomOf(SEED));
    await cutPower(first, late, { model: lying, seed: SEED, said: nothingSaid() }, async (cut, said) => {
      const wrong = await judged(cut, said).catch((error: unknown) => [errorText(error)]);
      if (wrong.length > 0) found++;
    });
    t.equal(found, late.length, 'each cut of a disk that lies is found out');
  },
);
