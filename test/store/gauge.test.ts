import { join } from 'node:path';
import t from 'tap';
import { silentLog } from '../../src/core/log.ts';
import { Engine } from '../../src/store/engine.ts';
import { Gauge, MovingRate } from '../../src/store/gauge.ts';
import { batchOf, countTo, directory, noiseOf, points } from './fixture.ts';

/** A notion of time that the test winds. */
function hand(): { now: number; elapsed: () => number } {
  const clock = { now: 5_000, elapsed: () => clock.now };
  return clock;
}

const SECOND = 1_000;
const MINUTE = 60_000;
const HOUR = 3_600_000;

t.test('a rate is what came in the steps that are counted, by the time that they cover', async (t) => {
  const rate = new MovingRate(0, 10, 3); // 3 steps of 10 ms
  t.equal(rate.perSecond(0), 0, 'no time, no rate');

  rate.add(5, 0);
  rate.add(7, 9);
  t.equal(rate.perSecond(10), 1_200, '12 in 10 ms');
  rate.add(8, 25);
  t.equal(rate.perSecond(25), 800, '20 in 25 ms');
  t.equal(
    rate.perSecond(32),
    (8 / 22) * 1_000,
    'of [10, 32) only the 8: the first step is not counted any more',
  );
  t.equal(rate.perSecond(1_000_000), 0, 'and after a long time none');
  rate.add(3, 1_000_004);
  t.equal(rate.perSecond(1_000_005), (3 / 25) * 1_000, 'in [999_980, 1_000_005)');
});

t.test('the outbox holds as long as its room lasts at the rate of the last ten minutes', async (t) => {
  const clock = hand();
  const gauge = new Gauge(clock.elapsed);
  t.equal(gauge.bytesPerSecond, 0);
  t.equal(gauge.holdsFor(1_000_000), undefined, 'where nothing was added nobody knows');

  for (let i = 0; i < 600; i++) {
    clock.now += SECOND;
    gauge.committed({ added: 1_000, delivered: 0, backlog: false });
  }
  // Ten minutes since the start; step 20 has just begun, so that steps 1 to 20 cover 570 s with 571 commits.
  t.equal(gauge.bytesPerSecond, 571_000 / 570);
  t.equal(gauge.holdsFor(571_000_000), 570_000 * SECOND);
  t.equal(gauge.holdsFor(-5), 0, 'no room, no time');

  clock.now += 5 * MINUTE; // silence: steps 11 to 30, of which the commits of 271 s are left, cover 570 s
  t.equal(gauge.bytesPerSecond, 271_000 / 570);
  clock.now += HOUR;
  t.equal(gauge.bytesPerSecond, 0);
});

t.test('it does not matter for the rate whether anything is delivered', async (t) => {
  const [still, draining] = [hand(), hand()].map((clock, i) => {
    const gauge = new Gauge(clock.elapsed);
    for (let second = 0; second < 100; second++) {
      clock.now += SECOND;
      gauge.committed({ added: 500, delivered: i * 5_000, backlog: i === 1 });
    }
    return gauge.bytesPerSecond;
  });

  t.equal(still, 500);
  t.equal(draining, still);
});

t.test('a backlog needs what waits by the rate of draining, less what is added', async (t) => {
  const clock = hand();
  const gauge = new Gauge(clock.elapsed);
  const pass = (seconds: number, change: { added: number; delivered: number; backlog: boolean }): void => {
    for (let i = 0; i < seconds; i++) {
      clock.now += SECOND;
      gauge.committed(change);
    }
  };

  t.equal(gauge.drainsIn(0, false), 0, 'no backlog');
  pass(20, { added: 100, delivered: 0, backlog: true });
  t.equal(gauge.drainsIn(2_000, true), undefined, 'nothing has drained yet');

  pass(20, { added: 100, delivered: 1_100, backlog: true });
  // 22,000 in 20 s of draining, while 4,000 were added in 40 s.
  t.equal(gauge.drainsIn(50_000, true), 50 * SECOND);

  pass(40, { added: 100, delivered: 0, backlog: true });
  t.equal(gauge.drainsIn(90_000, true), 90 * SECOND, 'the connection is gone again: what was seen counts');
  pass(1, { added: 8_000, delivered: 0, backlog: true });
  t.equal(gauge.bytesPerSecond, 16_000 / 81);
  t.equal(gauge.drainsIn(50_000, true), (50_000 / (1_100 - 16_000 / 81)) * SECOND);
  pass(1, { added: 200_000, delivered: 0, backlog: true });
  t.equal(gauge.drainsIn(50_000, true), undefined, 'it grows faster than it drains');
  t.equal(gauge.drainsIn(50_000, false), 0);
});

t.test('only the last minute of draining counts, and live delivery does not', async (t) => {
  const clock = hand();
  const gauge = new Gauge(clock.elapsed);
  const pass = (seconds: number, change: { added: number; delivered: number; backlog: boolean }): void => {
    for (let i = 0; i < seconds; i++) {
      clock.now += SECOND;
      gauge.committed(change);
    }
  };
  pass(600, { added: 0, delivered: 9_000, backlog: false });
  t.equal(gauge.drainsIn(1_000, true), undefined, 'what was delivered live says nothing of a backlog');
  pass(100, { added: 0, delivered: 1_000, backlog: true });
  pass(600, { added: 0, delivered: 0, backlog: true });
  pass(60, { added: 0, delivered: 3_000, backlog: true });

  // 160 s of draining: step 32 has just begun; steps 21 to 32 cover [105 s, 160 s), 56 commits in 55 s.
  t.equal(gauge.drainsIn(168_000, true), 55 * SECOND);
});

t.test('the gauge of a store agrees with what is done by hand', async (t) => {
  const clock = hand();
  const limit = 8 * 1_048_576;
  const engine = new Engine(
    {
      file: join(directory(t), 'telemetry.db'),
      limit,
      sampleLog: 1_048_576,
      shrinkFrom: Number.POSITIVE_INFINITY,
      points,
      commitEvery: 1_000_000, // the test commits, by an event
      signEvery: 1_000_000,
    },
    { log: silentLog, tell: () => {}, elapsed: clock.elapsed },
  );
  t.teardown(() => engine.close());
  engine.consumer('upstream', undefined);
  const commit = (): void => {
    engine.event(0, 'event/tick', '{}');
    engine.consumer('upstream', ''); // commits
  };
  t.match(engine.state(), { limit, bytesPerSecond: 0, messagesWaiting: 0, drainsIn: 0 });
  t.equal(engine.state().holdsFor, undefined);

  for (const k of countTo(60)) {
    clock.now += SECOND;
    engine.append(k, noiseOf(k * 100, 100));
    engine.record(1_000 + k, batchOf(k * 100, 100));
    commit();
  }
  const full = engine.state();
  // 100 texts of 400 characters of base64 and their frame, on ten messages, compress to about 33 kB a second.
  t.ok(full.bytesPerSecond > 30_000 && full.bytesPerSecond < 45_000, `${full.bytesPerSecond} bytes/s`);
  const taken = full.bytesPerSecond * 60;
  t.ok(Math.abs(taken - full.bytes) / taken < 0.1, 'it is what lies there');
  t.equal(full.messagesWaiting, 60 * 11);
  t.equal(full.drainsIn, 0, 'nothing waited for a connection');
  const holds = ((limit - limit / 4 - full.bytes) / full.bytesPerSecond) * SECOND;
  t.ok(
    full.holdsFor !== undefined && full.holdsFor < holds && full.holdsFor > holds * 0.5,
    `${full.holdsFor} of ${holds} ms: the spare room and the tables take their share`,
  );

  engine.rewind('upstream');
  const waiting = engine.state();
  t.equal(waiting.drainsIn, undefined, 'it waits, and nobody has seen it drain');
  for (let rows = engine.read('upstream', 'live', 1e9).rows; rows.length > 0; )
    rows =
      (engine.acknowledge(
        'upstream',
        'live',
        rows.map(({ id }) => id),
      ),
      engine.read('upstream', 'live', 1e9).rows);
  const history = engine.read('upstream', 'history', 1e9).rows;
  for (const { id } of history.slice(0, 30)) {
    engine.acknowledge('upstream', 'history', [id]);
    clock.now += SECOND / 10;
    commit();
  }
  const draining = engine.state();
  // Ten rows a second go, and per second of the 63 one row came.
  t.ok(
    draining.drainsIn !== undefined && draining.drainsIn > 2_500 && draining.drainsIn < 4_500,
    `${draining.drainsIn} ms`,
  );
  for (const { id } of history.slice(30)) engine.acknowledge('upstream', 'history', [id]);
  t.equal(engine.read('upstream', 'history', 1e9).rows.length, 0);
  commit();
  t.equal(engine.state().drainsIn, 0, 'nothing is left of it');
});
