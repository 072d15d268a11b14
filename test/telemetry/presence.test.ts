import t from 'tap';
import { BatchBuilder } from '../../src/core/batch.ts';
import { silentLog } from '../../src/core/log.ts';
import { seconds } from '../../src/core/units.ts';
import type { CoapSource, PointConfig } from '../../src/config/config.ts';
import { createPipeline } from '../../src/telemetry/pipeline.ts';
import { createPresence, noticed } from '../../src/telemetry/presence.ts';
import { HandClock } from '../support/clock.ts';
import { fakePoint } from '../support/fake-line.ts';
import { bad, batchOf, good, type Row } from './rows.ts';

const WALL = 1_795_516_800_000;

function speaking(index: number, device: string, mode: CoapSource['mode']): PointConfig {
  const source: CoapSource = {
    kind: 'coap',
    path: '/level',
    mode,
    format: 'auto',
    pointer: undefined,
    record: undefined,
    type: 'number',
  };
  return fakePoint(index, { device, source, every: seconds(10) });
}

/** Two points of an observed tank, one of a pump that pushes, and a tank that is polled as well as observed. */
const POINTS: readonly PointConfig[] = [
  speaking(0, 'tank', 'observe'),
  speaking(1, 'tank', 'observe'),
  speaking(2, 'pump', 'push'),
  speaking(3, 'mixed', 'observe'),
  speaking(4, 'mixed', 'poll'),
  fakePoint(5, { device: 'meter' }),
];

function watch(): (at: number, ...rows: readonly Row[]) => string[] {
  const presence = createPresence(POINTS);
  return (at, ...rows) =>
    noticed(presence, batchOf(rows), at).map(
      ({ device, state, reason, silentFor }) => `${device} ${state} ${reason || silentFor}`,
    );
}

t.test('a device that is observed is silent when all of its points are, and back with the first', (t) => {
  const tell = watch();
  t.same(tell(0, good(0, WALL, 1), good(1, WALL, 1)), []);
  t.same(tell(1_000, bad(0, WALL, 'stale')), [], 'one of two');
  t.same(tell(2_000, bad(1, WALL, 'timeout')), ['tank silent stale']);
  t.same(tell(3_000, bad(0, WALL, 'timeout'), bad(1, WALL, 'stale')), [], 'told once');
  t.same(tell(9_000, good(1, WALL, 2)), ['tank back 7000']);
  t.same(tell(9_500, bad(1, WALL, 'connection lost')), ['tank silent timeout']);
  t.end();
});

t.test('an error that the device tells is a word of it, and no silence', (t) => {
  const tell = watch();
  t.same(tell(0, bad(2, WALL, 'not heard yet')), ['pump silent not heard yet']);
  t.same(tell(1_000, bad(2, WALL, 'not a number')), ['pump back 1000']);
  t.same(tell(2_000, bad(2, WALL, 'not found')), []);
  t.end();
});

t.test('of devices that are polled nothing is told here: the runner knows more', (t) => {
  const tell = watch();
  t.same(tell(0, bad(3, WALL), bad(4, WALL), bad(5, WALL)), []);
  t.end();
});

t.test('within one batch the last word of each point counts', (t) => {
  const tell = watch();
  t.same(tell(0, bad(2, WALL, 'stale'), good(2, WALL, 1)), []);
  t.end();
});

t.test(
  'a device that pushes and stops is told by the pipeline, once, and again when it is back',
  async (t) => {
    const clock = new HandClock();
    const start = clock.elapsed();
    const intake = new BatchBuilder();
    const stop = new AbortController();
    const told: string[] = [];
    const pipeline = createPipeline({
      points: [speaking(0, 'pump', 'push')],
      intake,
      append: async () => {},
      record: async () => {},
      onDevice: (device, state) => told.push(`${clock.elapsed() - start} ${device} ${state}`),
      clock,
      log: silentLog,
    });
    const running = pipeline.run(stop.signal);
    const push = async (): Promise<void> => {
      intake.addNumber(0, clock.now(), 1);
      await clock.advance(seconds(5));
    };

    for (let i = 0; i < 4; i++) await push();
    await clock.advance(seconds(100));
    await push();

    t.same(
      told,
      ['45200 pump silent', '120100 pump back'],
      'three periods of 10 s after the last push at 15 s',
    );
    stop.abort();
    await running;
  },
);
