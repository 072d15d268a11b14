import t from 'tap';
import { BatchBuilder } from '../../src/core/batch.ts';
import { SluiceError } from '../../src/core/errors.ts';
import { silentLog } from '../../src/core/log.ts';
import { milliseconds, minutes, seconds } from '../../src/core/units.ts';
import { createRunner } from '../../src/drivers/runner.ts';
import { HandClock, settle } from '../support/clock.ts';
import { FakeLine, fakePoint, fakePolls } from '../support/fake-line.ts';
import { Plant } from './plant.ts';

t.test('an endpoint that cannot be reached is tried ever less often; all points are bad once', async (t) => {
  const plant = new Plant();
  const line = new FakeLine(plant.clock, fakePolls(3, [seconds(1)]), {
    reachable: () => false,
    watched: [7],
  });

  const runner = plant.run([line]);
  await plant.clock.advance(minutes(10));

  const waits = line.connects.slice(1).map((at, i) => at - (line.connects[i] ?? 0));
  t.same(waits.slice(0, 8), [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000]);
  t.ok(waits.slice(8).every((wait) => wait === 60_000));
  const rows = plant.take();
  t.same(
    rows.map(({ point, reason }) => `${point} ${reason}`),
    ['0', '1', '2', '7'].map((point) => `${point} connection lost`),
  );
  t.same(
    plant.told.map(({ device, state }) => `${device} ${state}`),
    ['device-1 silent', 'device-2 silent', 'device-3 silent'],
  );
  t.equal(plant.says('connection lost'), 1);
  t.match(runner.lineStates()[0], {
    connection: 'waiting',
    counters: { errors: { lost: line.connects.length } },
  });
  await plant.end();
  t.equal(line.closed, 1);
});

t.test(
  'an endpoint that lets us in and says nothing is asked again every ten seconds at least',
  async (t) => {
    const plant = new Plant();
    const mended = plant.start + minutes(30);
    const line = new FakeLine(plant.clock, fakePolls(10, [seconds(1)]), {
      behave: (_, __, at) => (at < mended ? 'mute' : 'answers'),
    });

    plant.run([line]);
    await plant.clock.advance(minutes(31));

    const waits = line.connects.slice(1).map((at, i) => at - (line.connects[i] ?? 0));
    t.ok(
      waits.every((wait) => wait <= 11_000),
      'ten seconds, and the time-out that it takes to notice',
    );
    t.ok(line.connects.length < 200, 'and not more often than that');
    for (let unit = 1; unit <= 10; unit++) {
      const first = line.seen.find((request) => request.unit === String(unit) && request.at >= mended);
      t.ok((first?.at ?? Infinity) - mended < 12_000, `unit ${unit} is read soon after the bus was mended`);
    }
    t.equal(plant.says('connection lost'), 1);
    t.same(line.breaches, []);
    await plant.end();
  },
);

t.test('jitter spreads the waits by a fifth to both sides', async (t) => {
  const waits: number[] = [];
  for (const random of [() => 0, () => 1 - Number.EPSILON]) {
    const plant = new Plant();
    const line = new FakeLine(plant.clock, fakePolls(1, [seconds(1)]), { reachable: () => false });
    plant.run([line], random);
    await plant.clock.advance(seconds(1));
    waits.push((line.connects[1] ?? 0) - (line.connects[0] ?? 0));
    await plant.end();
  }
  t.same(waits, [400, 600]);
});

t.test(
  'a lost connection comes back: everything is read at once, people hear of it, the grid stays',
  async (t) => {
    const plant = new Plant();
    const line = new FakeLine(plant.clock, fakePolls(2, [seconds(1), minutes(10)]), {
      behave: (_, __, at) => (at - plant.start === 5_000 ? 'lost' : 'answers'),
      reachable: (at) => at - plant.start < 5_000 || at - plant.start >= 12_000,
    });

    const runner = plant.run([line]);
    await plant.clock.advance(milliseconds(5_100));
    plant.take();
    await plant.clock.advance(seconds(60));

    const back = plant.take().filter(({ quality }) => quality === 0);
    t.same(new Set(back.map(({ point }) => point)), new Set([0, 1, 2, 3]), 'slow points too');
    t.same(
      plant.told.map(({ device, state }) => `${device} ${state}`),
      ['device-1 silent', 'device-2 silent', 'device-1 back', 'device-2 back'],
    );
    t.equal(plant.says('connection back'), 1);
    t.equal(runner.counters.missed, 0, 'ticks without a connection are not missed ones');
    const last = line.seen.filter(({ what }) => what === 'read 0 of unit 1').at(-1);
    t.equal(((last?.at ?? 0) - plant.start) % 1_000, 0);
    t.same(line.breaches, []);
    await plant.end();
  },
);

t.test('an endpoint that accepts only to close is not hammered, and said to be lost once', async (t) => {
  const plant = new Plant();
  const line = new FakeLine(plant.clock, fakePolls(1, [seconds(1)]), { behave: () => 'lost' });

  plant.run([line]);
  await plant.clock.advance(minutes(10));

  t.ok(line.connects.length < 20, `${line.connects.length} connects in ten minutes`);
  t.equal(plant.says('connection lost'), 1);
  t.equal(plant.told.length, 1);
  t.equal(plant.take().length, 1);
  await plant.end();
});

t.test('what does not answer after the connection is back has another reason to be bad', async (t) => {
  const plant = new Plant();
  const line = new FakeLine(plant.clock, fakePolls(2, [seconds(1), seconds(1)]), {
    behave: (unit, _, at) => {
      if (at - plant.start === 5_000) return 'lost';
      return unit === '2' && at - plant.start > 5_000 ? 'timeout' : 'answers';
    },
    reachable: (at) => at - plant.start < 5_000 || at - plant.start >= 12_000,
  });

  plant.run([line]);
  await plant.clock.advance(seconds(30));

  const last = new Map(plant.take().map((row) => [row.point, row.reason]));
  t.same(
    [0, 1, 2, 3].map((point) => last.get(point)),
    ['', '', 'timeout', 'timeout'],
  );
  await plant.end();
});

t.test('commands that wait when the connection is lost are refused, not sent on the next one', async (t) => {
  const plant = new Plant();
  const line = new FakeLine(plant.clock, fakePolls(1, [seconds(1)]), {
    rtt: milliseconds(100),
    behave: (_, __, at) => (at === plant.start ? 'lost' : 'answers'),
  });
  const runner = plant.run([line]);
  await settle();

  const refused = t.rejects(runner.write(0, 1, new AbortController().signal), { code: 'CONNECTION_LOST' });
  await plant.clock.advance(seconds(10));

  await refused;
  t.ok(line.connects.length > 1);
  t.notOk(line.seen.some(({ kind }) => kind === 'write'));
  await plant.end();
});

t.test(
  'a command that finds the connection lost takes the line with it, also where nothing is polled',
  async (t) => {
    const plant = new Plant();
    const line = new FakeLine(plant.clock, [], { watched: [0], behave: () => 'lost' });
    const runner = plant.run([line]);
    await settle();

    const refused = t.rejects(runner.write(0, 1, new AbortController().signal), { code: 'CONNECTION_LOST' });
    await plant.clock.advance(milliseconds(100));

    await refused;
    t.equal(runner.lineStates()[0]?.connection, 'waiting');
    t.same(
      plant.take().map(({ point, reason }) => `${point} ${reason}`),
      ['0 connection lost'],
    );
    await plant.clock.advance(seconds(2));
    t.equal(runner.lineStates()[0]?.connection, 'connected');
    await plant.end();
  },
);

t.test('a good connection that is closed is replaced at once, and nothing turns bad', async (t) => {
  const plant = new Plant();
  let last: number = plant.start;
  const line = new FakeLine(plant.clock, fakePolls(2, [minutes(1)]), {
    // Closed when nothing came for half a minute.
    behave: (_, __, at) => {
      const idle = at - last > 25_000;
      last = at;
      return idle ? 'lost' : 'answers';
    },
  });

  plant.run([line]);
  await plant.clock.advance(minutes(30));

  t.ok(line.connects.length >= 30);
  t.same(plant.told, []);
  t.same(plant.logged, []);
  const rows = plant.take();
  t.ok(rows.length >= 60 && rows.every(({ quality }) => quality === 0));
  t.same(line.breaches, []);
  await plant.end();
});

t.test('two masters that throw each other out come to rest', async (t) => {
  const plant = new Plant();
  const line = new FakeLine(plant.clock, fakePolls(1, [seconds(1)]), {
    behave: (_, __, at) => (at - (line.connects.at(-1) ?? 0) > 1_500 ? 'lost' : 'answers'),
  });

  plant.run([line]);
  await plant.clock.advance(minutes(10));

  t.ok(line.connects.length < 20, `${line.connects.length} connects in ten minutes`);
  await plant.end();
});

t.test('whoever is told of a device and throws stops the runner, which closes its lines', async (t) => {
  const clock = new HandClock();
  const line = new FakeLine(clock, fakePolls(1, [seconds(1)]), { behave: () => 'timeout' });
  const runner = createRunner({
    lines: [line],
    points: [],
    into: new BatchBuilder(),
    clock,
    log: silentLog,
    onDevice: () => {
      throw new TypeError('a bug of the house');
    },
  });

  const running = t.rejects(runner.run(new AbortController().signal), { message: 'a bug of the house' });
  await clock.advance(seconds(10));

  await running;
  t.equal(line.closed, 1);
});

t.test('a time-out or an exception never costs the connection', async (t) => {
  const plant = new Plant();
  const line = new FakeLine(plant.clock, fakePolls(3, [seconds(1)]), {
    behave: (unit) => (unit === '1' ? 'timeout' : unit === '2' ? 'refused' : 'mismatch'),
  });

  plant.run([line]);
  await plant.clock.advance(minutes(10));

  t.equal(line.connects.length, 1);
  await plant.end();
});

t.test('of many lines that connect, sixteen are under way at a time', async (t) => {
  const plant = new Plant();
  let connecting = 0;
  let most = 0;
  const lines = Array.from({ length: 50 }, (_, i) => {
    const line = new FakeLine(plant.clock, fakePolls(1, [seconds(1)], i), { endpoint: `fake://${i}` });
    line.connect = async (signal) => {
      connecting += 1;
      most = Math.max(most, connecting);
      await plant.clock.sleep(seconds(3), signal);
      connecting -= 1;
      line.connected = true;
    };
    return line;
  });

  plant.run(lines);
  await plant.clock.advance(seconds(30));

  t.equal(most, 16);
  t.ok(
    lines.every(({ seen }) => seen.length > 0),
    'all have their turn',
  );
  await plant.end();
});

t.test('a stop settles everything, wherever it comes, and closes each line once', async (t) => {
  for (const at of [0, 1, 5, 15, 100, 505, 1_200, 3_000]) {
    const plant = new Plant();
    const polls = fakePolls(2, [seconds(1)]);
    const lines = [
      new FakeLine(plant.clock, polls, {
        behave: (unit) => (unit === '2' ? 'timeout' : 'answers'),
        inFlight: 2,
      }),
      new FakeLine(plant.clock, polls, { reachable: () => false, connectTime: milliseconds(10) }),
      new FakeLine(plant.clock, [], {
        watch: async (_, signal) => plant.clock.sleep(minutes(60), signal).catch(() => {}),
      }),
    ];
    const runner = plant.run(lines);
    await plant.clock.advance(milliseconds(at));
    const command = runner.write(0, 1, new AbortController().signal).catch((error: unknown) => error);
    await settle();

    await plant.end();

    t.ok(
      (await command) === undefined || (await command) instanceof Error,
      `the command at ${at} ms is settled`,
    );
    t.same(
      lines.map(({ closed }) => closed),
      [1, 1, 1],
    );
    t.equal(plant.clock.sleeping, 0, 'nothing sleeps on');
    t.same(
      lines.flatMap(({ breaches }) => breaches),
      [],
    );
    t.ok(runner.lineStates().every(({ connection }) => connection === 'closed'));
  }
});

t.test('a watch runs beside the polls and is restarted with back-off when it ends', async (t) => {
  const plant = new Plant();
  const starts: number[] = [];
  const line = new FakeLine(plant.clock, fakePolls(1, [seconds(1)]), {
    watched: [5],
    watch: async (into, signal) => {
      starts.push(plant.clock.elapsed() - plant.start);
      into.addNumber(5, plant.clock.now(), 1);
      await plant.clock.sleep(starts.length < 4 ? seconds(1) : minutes(60), signal);
      throw new SluiceError('DEVICE_TIMEOUT', 'no observation');
    },
  });

  const runner = plant.run([line]);
  await plant.clock.advance(minutes(2));

  t.same(starts, [0, 1_500, 3_500, 6_500]);
  t.equal(runner.counters.watchRestarts, 3);
  t.equal(plant.says('watch ended'), 1);
  const rows = plant.take().filter(({ point }) => point === 5);
  t.same(
    rows.map(({ quality }) => quality),
    [0, 2, 0, 0, 0],
    'its points are bad once',
  );
  t.equal(line.count('1'), 121);
  await plant.end();
});

t.test('a watch that loses the connection takes the line with it', async (t) => {
  const plant = new Plant();
  const line = new FakeLine(plant.clock, fakePolls(1, [seconds(1)]), {
    watch: async (_, signal) => {
      await plant.clock.sleep(milliseconds(1_500), signal);
      line.connected = false;
      throw new SluiceError('CONNECTION_LOST', 'reset');
    },
  });

  plant.run([line]);
  await plant.clock.advance(seconds(20));

  t.ok(line.connects.length > 1);
  t.same(line.breaches, []);
  await plant.end();
});

t.test('the loss of an endpoint counts the devices that are only observed', async (t) => {
  const clock = new HandClock();
  const line = new FakeLine(clock, [], { watched: [0, 1, 2], reachable: () => false });
  const lost: unknown[] = [];
  const runner = createRunner({
    lines: [line],
    points: ['tank', 'tank', 'pump'].map((device, index) => fakePoint(index, { device })),
    into: new BatchBuilder(),
    clock,
    log: { ...silentLog, warn: (what, facts) => lost.push([what, facts?.['devices']]) },
  });
  const stop = new AbortController();

  const running = runner.run(stop.signal);
  await clock.advance(seconds(1));

  t.same(lost, [['connection lost', 2]]);
  stop.abort();
  await running;
});
