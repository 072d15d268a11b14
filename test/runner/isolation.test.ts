import t from 'tap';
import { milliseconds, minutes, seconds } from '../../src/core/units.ts';
import { FakeLine, fakePolls, type Seen } from '../support/fake-line.ts';
import { Plant } from './plant.ts';

const TIMEOUT = 1_000;
const PERIOD = 1_000;

t.test('one dead unit of ten costs its neighbours at most one time-out per back-off interval', async (t) => {
  const plant = new Plant();
  const line = new FakeLine(plant.clock, fakePolls(10, [seconds(1)]), {
    behave: (unit) => (unit === '4' ? 'timeout' : 'answers'),
  });

  plant.run([line]);
  await plant.clock.advance(minutes(10));

  const attempts = line.seen.filter(({ unit }) => unit === '4').map(({ at }) => at - plant.start);
  const gaps = differences(attempts);
  // 1.5, 3, 6, 12 times what an attempt costs, and the budget of the line: 1 s of 10 s.
  t.ok((gaps[0] ?? 0) >= TIMEOUT * 2.5, 'the first probe waits for 1.5 times the time-out');
  t.ok(
    gaps.slice(1).every((gap) => gap >= 10 * TIMEOUT),
    'later ones leave nine tenths of the time to others',
  );
  t.ok(
    gaps.every((gap) => gap <= 13 * TIMEOUT + 100),
    'and it is tried for ever',
  );
  t.ok(attempts.length >= 46 && attempts.length <= 50, `${attempts.length} attempts in ten minutes`);
  for (let unit = 1; unit <= 10; unit++) {
    if (unit === 4) continue;
    const times = line.seen.filter((request) => request.unit === String(unit)).map(({ at }) => at);
    const long = differences(times).filter((gap) => gap > 1.1 * PERIOD);
    t.ok(
      long.length <= attempts.length,
      `unit ${unit} is held up ${long.length} times at most once an attempt`,
    );
    t.ok(
      long.every((gap) => gap <= PERIOD + TIMEOUT + 200),
      `unit ${unit} waits for one time-out at most`,
    );
    t.ok(times.length >= 600 - attempts.length - 1, `unit ${unit} is read at all other ticks`);
  }
  t.same(line.breaches, []);
  await plant.end();
});

t.test('without a dead unit nobody is ever late, and phases are spread over the period', async (t) => {
  const plant = new Plant();
  const line = new FakeLine(plant.clock, fakePolls(10, [seconds(1)]));
  const other = new FakeLine(plant.clock, fakePolls(10, [seconds(1)], 10), { endpoint: 'fake://other' });

  const runner = plant.run([line, other]);
  await plant.clock.advance(milliseconds(59_999));

  t.equal(runner.counters.late, 0);
  t.equal(runner.counters.missed, 0);
  t.equal(runner.counters.polls, 1_200);
  const first = [...line.seen.slice(0, 10), ...other.seen.slice(0, 10)].map(({ at }) => at - plant.start);
  t.same(
    first.sort((a, b) => a - b),
    Array.from({ length: 20 }, (_, i) => i * 50),
  );
  await plant.end();
});

t.test('the grid does not drift, however long the answers take', async (t) => {
  const plant = new Plant();
  const line = new FakeLine(plant.clock, fakePolls(1, [milliseconds(300)]), { rtt: milliseconds(250) });

  plant.run([line]);
  await plant.clock.advance(minutes(5));

  t.equal(line.seen.length, 1_001);
  t.ok(line.seen.every(({ at }) => (at - plant.start) % 300 === 0));
  await plant.end();
});

t.test('a tick that finds its poll still running is skipped and counted, never queued', async (t) => {
  const plant = new Plant();
  const line = new FakeLine(plant.clock, fakePolls(1, [seconds(1)]), { rtt: milliseconds(2_500) });

  const runner = plant.run([line]);
  await plant.clock.advance(seconds(60));

  // Begins at 0 s, answered at 2.5 s: the tick of 1 s is lost, that of 2 s is late, and so on.
  t.ok(line.seen.length <= 25, `${line.seen.length} reads fit into a minute`);
  const { missed, late, polls } = runner.counters;
  t.equal(missed + polls, 61, 'every tick is a read or is counted as missed');
  t.ok(late > 0);
  t.same(line.breaches, []);
  await plant.end();
});

t.test(
  'a silent unit: its points turn bad once, people are told once, and so again when it is back',
  async (t) => {
    const plant = new Plant();
    let dead = true;
    const line = new FakeLine(plant.clock, fakePolls(2, [seconds(1), seconds(1), seconds(60)]), {
      behave: (unit) => (unit === '2' && dead ? 'timeout' : 'answers'),
    });

    const runner = plant.run([line]);
    await plant.clock.advance(minutes(2));

    const bad = plant.take().filter(({ quality }) => quality === 2);
    t.ok(bad.every(({ reason }) => reason === 'timeout'));
    t.same(new Set(bad.map(({ point }) => point)), new Set([3, 4, 5]), 'nobody else is bad');
    const attempts = line.count('2');
    t.ok(bad.length <= attempts + 3, 'a point is told once, and with every attempt');
    t.same(
      plant.told.map(({ device, state }) => `${device} ${state}`),
      ['device-2 silent'],
    );
    t.same(plant.told[0]?.facts['nextTry'], 9_000, 'nine tenths of the time are for the others');
    t.match(plant.told[0]?.facts['remedy'], /never answered since the start; is unit 2 right/);
    t.match(runner.lineStates()[0]?.units, [{ breaker: 'closed' }, { breaker: 'open', silent: true }]);

    dead = false;
    await plant.clock.advance(seconds(14));

    t.same(
      plant.told.map(({ device, state }) => `${device} ${state}`),
      ['device-2 silent', 'device-2 back'],
    );
    const good = plant.take().filter(({ quality }) => quality === 0);
    t.same(
      new Set(good.map(({ point }) => point)),
      new Set([0, 1, 2, 3, 4, 5]),
      'the slow point is read at once too',
    );
    t.equal(plant.says('device silent'), 1);
    t.equal(plant.says('device back'), 1);
    await plant.end();
  },
);

t.test('a unit that falls silent: what is held back turns bad at its own tick, not before', async (t) => {
  const plant = new Plant();
  const line = new FakeLine(plant.clock, fakePolls(1, [seconds(1), seconds(1), seconds(60)]), {
    behave: (_, __, at) => (at - plant.start >= 10_000 ? 'timeout' : 'answers'),
  });

  plant.run([line]);
  await plant.clock.advance(minutes(2));

  const bad = plant.take().filter(({ quality }) => quality === 2);
  const first = (point: number) => (bad.find((row) => row.point === point)?.time ?? 0) - plant.start;
  t.equal(first(0), 11_000, 'the read that was not answered');
  t.equal(first(1), 11_000, 'the read that was due with it');
  t.equal(first(2), 60_000, 'a value of a minute ago is good until it should be read again');
  t.equal(bad.filter(({ point }) => point === 2).length, 1);
  await plant.end();
});

t.test('four requests of one unit that are not answered are one failure', async (t) => {
  const plant = new Plant();
  const line = new FakeLine(plant.clock, fakePolls(1, [seconds(1), seconds(1), seconds(1), seconds(1)]), {
    inFlight: 4,
    behave: (_, __, at) => (at === plant.start ? 'timeout' : 'answers'),
  });

  plant.run([line]);
  await plant.clock.advance(seconds(5));

  const next = line.seen.find(({ at }) => at > plant.start);
  t.equal((next?.at ?? 0) - plant.start, TIMEOUT + 1_500);
  t.same(plant.told, []);
  await plant.end();
});

t.test('one lost reply makes a point bad for a moment and alarms nobody', async (t) => {
  const plant = new Plant();
  const line = new FakeLine(plant.clock, fakePolls(1, [seconds(1)]), {
    behave: (_, __, at) => (at - plant.start === 10_000 ? 'timeout' : 'answers'),
  });

  plant.run([line]);
  await plant.clock.advance(seconds(30));

  t.equal(plant.take().filter(({ quality }) => quality === 2).length, 1);
  t.same(plant.told, []);
  t.same(plant.logged, []);
  await plant.end();
});

t.test('a unit that flaps faster than its wait is tried ever less often', async (t) => {
  const plant = new Plant();
  let requests = 0;
  const line = new FakeLine(plant.clock, fakePolls(2, [seconds(1)]), {
    behave: (unit) => (unit === '2' && requests++ % 2 === 0 ? 'timeout' : 'answers'),
  });

  plant.run([line]);
  await plant.clock.advance(minutes(10));

  const wasted = Math.ceil(requests / 2) * TIMEOUT;
  t.ok(wasted <= 0.1 * 600_000, `${wasted} ms of 600 s`);
  t.ok(requests > 50, 'but it is read in between');
  t.same(plant.told, [], 'it is not silent');
  await plant.end();
});

t.test('a block that a device swallows does not take its other blocks away', async (t) => {
  const plant = new Plant();
  const line = new FakeLine(plant.clock, fakePolls(2, [seconds(1), seconds(1)]), {
    behave: (_, what) => (what === 'read 3 of unit 2' ? 'timeout' : 'answers'),
  });

  plant.run([line]);
  await plant.clock.advance(minutes(10));

  const whole = line.seen.filter(({ what }) => what === 'read 2 of unit 2').length;
  const swallowed = line.seen.filter(({ what }) => what === 'read 3 of unit 2').length;
  t.ok(swallowed >= 20 && swallowed <= 61, `the block is tried ${swallowed} times`);
  t.ok(whole >= 600 - swallowed - 5, `the other one is read ${whole} times`);
  t.same(plant.told, []);
  t.equal(plant.says('request not answered'), 1, 'people hear of it once');
  const bad = plant.take().filter(({ quality, point }) => quality === 2 && point !== 3);
  t.ok(bad.length <= 1, 'the points of the other block stay good');
  await plant.end();
});

t.test('wrong answers and faults of a driver concern their unit alone', async (t) => {
  for (const [behaviour, reason, kind] of [
    ['mismatch', 'reply mismatch', 'mismatch'],
    ['bug', 'driver fault', 'other'],
    ['refused', 'refused', 'refused'],
  ] as const) {
    const plant = new Plant();
    const line = new FakeLine(plant.clock, fakePolls(2, [seconds(1)]), {
      behave: (unit) => (unit === '2' ? behaviour : 'answers'),
    });

    const runner = plant.run([line]);
    await plant.clock.advance(seconds(30));

    t.equal(line.count('1'), 31, 'the neighbour is read at every tick');
    t.equal(line.connects.length, 1, 'the connection stays');
    const bad = plant.take().filter(({ point }) => point === 1);
    t.ok(bad.length > 0 && bad.every((row) => row.quality === 2 && row.reason === reason));
    t.ok(runner.counters.errors[kind] > 0);
    if (behaviour === 'refused') t.equal(line.count('2'), 30, 'who refuses is not silent');
    if (behaviour === 'bug') t.equal(plant.says('driver failed'), 1, 'a bug is logged once');
    await plant.end();
  }
});

t.test('a device that is busy is asked again after a pause, and is no silent device', async (t) => {
  const plant = new Plant();
  const busyUntil = plant.start + 12_000;
  const line = new FakeLine(plant.clock, fakePolls(1, [minutes(60)]), {
    behave: (_, __, at) => (at < busyUntil ? 'busy' : 'answers'),
  });

  plant.run([line]);
  await plant.clock.advance(minutes(119));

  const times = line.seen.map(({ at }) => at - plant.start);
  t.same(times, [0, 5_010, 10_020, 15_030, 3_600_000], 'until it answers, and then on its grid');
  t.same(
    plant.take().map(({ quality, reason }) => `${quality} ${reason}`),
    ['2 server device busy', '2 server device busy', '2 server device busy', '0 ', '0 '],
  );
  t.same(plant.told, []);
  t.equal(plant.runner.counters.missed, 0);
  await plant.end();
});

t.test('the same unit number on two lines is two units', async (t) => {
  const plant = new Plant();
  const dead = new FakeLine(plant.clock, fakePolls(2, [seconds(1)]), { behave: () => 'timeout' });
  const alive = new FakeLine(plant.clock, fakePolls(2, [seconds(1)], 2), { endpoint: 'fake://alive' });

  const runner = plant.run([dead, alive]);
  await plant.clock.advance(minutes(1));

  t.equal(alive.seen.length, 120);
  t.equal(runner.lineStates()[1]?.units.filter(({ breaker }) => breaker !== 'closed').length, 0);
  t.equal(runner.lineStates()[0]?.units.filter(({ breaker }) => breaker === 'closed').length, 0);
  await plant.end();
});

t.test(
  'with four requests in flight reads go out in order, four at a time, and a dead unit holds one slot',
  async (t) => {
    const plant = new Plant();
    const periods = Array.from({ length: 8 }, () => seconds(1));
    const line = new FakeLine(plant.clock, fakePolls(3, periods), {
      inFlight: 4,
      rtt: milliseconds(20),
      behave: (unit) => (unit === '3' ? 'timeout' : 'answers'),
    });

    const runner = plant.run([line]);
    await plant.clock.advance(minutes(5));

    t.equal(line.mostInFlight, 4);
    t.same(line.breaches, []);
    t.ok(inOrder(line.seen.filter(({ unit }) => unit === '1')), 'each cycle in the order of the plan');
    const healthy = runner.lineStates()[0]?.units[0]?.counters;
    t.ok((healthy?.polls ?? 0) >= 8 * 299, 'a unit that answers misses next to nothing');
    const probes = line.seen.filter(({ unit, at }) => unit === '3' && at > plant.start + 5_000);
    t.ok(
      differences(probes.map(({ at }) => at)).every((gap) => gap >= TIMEOUT),
      'one probe at a time',
    );
    await plant.end();
  },
);

function inOrder(seen: readonly Seen[]): boolean {
  const order = [...new Set(seen.map(({ what }) => what))].sort();
  return seen.every(({ what }, i) => what === order[i % order.length]);
}

function differences(times: readonly number[]): number[] {
  return times.slice(1).map((time, i) => time - (times[i] ?? 0));
}
