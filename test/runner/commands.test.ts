import t from 'tap';
import { SluiceError } from '../../src/core/errors.ts';
import { milliseconds, seconds } from '../../src/core/units.ts';
import { MOST_WAITING_COMMANDS } from '../../src/drivers/command-lane.ts';
import { settle } from '../support/clock.ts';
import { FakeLine, fakePolls } from '../support/fake-line.ts';
import { Plant } from './plant.ts';

const patient = new AbortController().signal;

t.test(
  'a write goes before the polls that wait, behind the request on the wire, and can be read back',
  async (t) => {
    const plant = new Plant();
    const periods = Array.from({ length: 8 }, () => seconds(1));
    const line = new FakeLine(plant.clock, fakePolls(1, periods), { rtt: milliseconds(100) });
    const runner = plant.run([line]);
    await plant.clock.advance(milliseconds(50));

    const written = runner.write(2, 42, patient);
    const read = runner.readBack(2, patient);
    await plant.clock.advance(seconds(2));

    await written;
    t.equal(await read, 42);
    t.same(
      line.seen.slice(0, 4).map(({ kind }) => kind),
      ['poll', 'write', 'readBack', 'poll'],
    );
    t.equal(runner.counters.commands, 2);
    t.same(line.breaches, []);
    await plant.end();
  },
);

t.test('commands without end cannot stop acquisition', async (t) => {
  const plant = new Plant();
  const line = new FakeLine(plant.clock, fakePolls(1, [seconds(1)]), { rtt: milliseconds(10) });
  const runner = plant.run([line]);
  await settle();
  const stop = new AbortController();
  const flow = async (): Promise<void> => {
    for (let value = 0; !stop.signal.aborted; value++) await runner.write(0, value, patient);
  };
  const flows = Array.from({ length: 20 }, flow);

  await plant.clock.advance(seconds(20));
  stop.abort();
  await plant.clock.advance(seconds(1));
  await Promise.all(flows);

  const polls = line.seen.filter(({ kind }) => kind === 'poll').length;
  t.ok(polls >= 20, `${polls} polls beside ${line.seen.length - polls} writes`);
  t.equal(runner.counters.missed, 0);
  await plant.end();
});

t.test('what is more than the lane holds is refused as busy, and only that', async (t) => {
  const plant = new Plant();
  const line = new FakeLine(plant.clock, fakePolls(1, [seconds(10)]));
  const runner = plant.run([line]);
  await plant.clock.advance(seconds(1));

  const all = Array.from({ length: MOST_WAITING_COMMANDS + 5 }, (_, value) =>
    runner.write(0, value, patient),
  );
  const outcomes = Promise.allSettled(all);
  await plant.clock.advance(seconds(5));

  const refused = (await outcomes).filter((outcome) => outcome.status === 'rejected');
  t.equal(refused.length, 4, 'one is on the wire, the lane is full, four are too many');
  t.ok(refused.every(({ reason }) => reason instanceof SluiceError && reason.code === 'BUSY'));
  t.equal(runner.counters.commandsRefused, 4);
  await plant.end();
});

t.test('a command whose asker has gone is not sent', async (t) => {
  const plant = new Plant();
  const line = new FakeLine(plant.clock, fakePolls(1, [seconds(1)]), { rtt: milliseconds(500) });
  const runner = plant.run([line]);
  await plant.clock.advance(milliseconds(100));
  const asker = new AbortController();

  const written = runner.write(0, 1, asker.signal);
  asker.abort(new Error('gone'));

  await t.rejects(written, { message: 'gone' });
  await t.rejects(runner.write(0, 1, asker.signal), { message: 'gone' });
  await plant.clock.advance(seconds(2));
  t.notOk(line.seen.some(({ kind }) => kind === 'write'));
  await plant.end();
});

t.test(
  'a command to a device that is known to be silent is refused at once, its neighbour is served',
  async (t) => {
    const plant = new Plant();
    const line = new FakeLine(plant.clock, fakePolls(2, [seconds(1)]), {
      behave: (unit) => (unit === '2' ? 'timeout' : 'answers'),
    });
    const runner = plant.run([line]);
    await plant.clock.advance(seconds(7));
    const before = line.count('2');

    await t.rejects(runner.write(1, 7, patient), {
      code: 'DEVICE_TIMEOUT',
      message: /device-2 .* does not answer/,
    });
    const served = runner.write(0, 7, patient);
    await plant.clock.advance(milliseconds(20));

    await served;
    t.equal(line.count('2'), before);
    await plant.end();
  },
);

t.test('a refused write says nothing about silence, one in vain does', async (t) => {
  const plant = new Plant();
  const line = new FakeLine(plant.clock, fakePolls(1, [seconds(60)]), {
    behave: (_, what) => (what === 'write of 0' ? behaviour : 'answers'),
  });
  let behaviour: 'refused' | 'timeout' = 'refused';
  const runner = plant.run([line]);
  await plant.clock.advance(seconds(2));

  const refused = t.rejects(runner.write(0, 1, patient), { code: 'DEVICE_REFUSED' });
  await plant.clock.advance(seconds(1));
  await refused;
  t.equal(runner.lineStates()[0]?.units[0]?.breaker, 'closed');

  behaviour = 'timeout';
  const inVain = t.rejects(runner.write(0, 1, patient), { code: 'DEVICE_TIMEOUT' });
  await plant.clock.advance(seconds(1));
  await inVain;
  t.equal(runner.lineStates()[0]?.units[0]?.breaker, 'open');
  await plant.clock.advance(seconds(2));
  t.equal(runner.lineStates()[0]?.units[0]?.breaker, 'closed', 'a probe finds it alive');
  await plant.end();
});

t.test(
  'without a connection, and for a driver that cannot, a command is refused and never sent later',
  async (t) => {
    const plant = new Plant();
    const line = new FakeLine(plant.clock, fakePolls(1, [seconds(1)]), {
      reachable: (at) => at - plant.start > 20_000,
    });
    const readOnly = new FakeLine(plant.clock, fakePolls(1, [seconds(1)], 1));
    Object.defineProperty(readOnly, 'write', { value: undefined });
    const runner = plant.run([line, readOnly]);
    await plant.clock.advance(seconds(5));

    await t.rejects(runner.write(0, 1, patient), { code: 'CONNECTION_LOST' });
    await t.rejects(runner.write(1, 1, patient), { code: 'DEVICE_REFUSED' });
    await t.rejects(runner.write(99, 1, patient), { code: 'DEVICE_REFUSED' });
    await plant.clock.advance(seconds(60));

    t.ok(line.count('1') > 0, 'the device is back');
    t.notOk(line.seen.some(({ kind }) => kind === 'write'));
    await plant.end();
  },
);
