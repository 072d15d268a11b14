import t from 'tap';
import { ASKERS, IDS_PER_ASKER, Recent } from '../../src/commands/recent.ts';
import {
  type CommanderParts,
  MOST_COMMANDS,
  type Request,
  createCommander,
} from '../../src/commands/commander.ts';
import type { PointValue } from '../../src/core/batch.ts';
import type { CommandResult } from '../../src/core/command.ts';
import { SluiceError } from '../../src/core/errors.ts';
import type { Facts } from '../../src/core/log.ts';
import { minutes, seconds } from '../../src/core/units.ts';
import { HandClock, settle } from '../support/clock.ts';
import { modbusSource, pointOf } from './points.ts';

const points = [
  pointOf(modbusSource('int16'), { index: 0, min: 0, max: 100 }),
  pointOf(modbusSource('int16'), { index: 1, device: 'press-2' }),
  pointOf(modbusSource('uint16'), { index: 2, name: 'serial', writable: false }),
];

const written = async () => Promise.resolve();

interface Deferred {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** A plant in memory, whose writes wait until the test lets them go. */
function plant(more: Partial<CommanderParts> = {}) {
  const held = new Map<number, PointValue>();
  const writes: { readonly point: number; readonly value: PointValue; readonly gate: Deferred }[] = [];
  const lines: { readonly what: string; readonly facts: Facts | undefined }[] = [];
  const clock = new HandClock();
  const stop = new AbortController();
  const note = (what: string, facts?: Facts) => lines.push({ what, facts });
  const commander = createCommander({
    points,
    write: async (point, value) => {
      const gate = Promise.withResolvers<void>();
      writes.push({ point, value, gate });
      await gate.promise;
      held.set(point, value);
    },
    readBack: async (point) => Promise.resolve(held.get(point) ?? 0),
    clock,
    log: { info: note, warn: note, error: note },
    signal: stop.signal,
    ...more,
  });
  const go = (i: number) => writes[i]?.gate.resolve();
  return { commander, held, writes, lines, clock, stop, go };
}

function request(
  id: string,
  value: PointValue,
  more: Partial<Request> & { readonly expires?: number } = {},
): Request {
  const { expires, ...rest } = more;
  const payload = new TextEncoder().encode(JSON.stringify({ id, value, expires }));
  return { by: 'hmi', device: 'press-1', point: 'setpoint', payload, retained: false, ...rest };
}

t.test('a command arrives, is read back and answered', async (t) => {
  const { commander, held, lines, go } = plant();

  const answer = commander.handle(request('a', 42));
  await settle();
  go(0);

  t.same(await answer, { id: 'a', ok: true, value: 42 });
  t.equal(held.get(0), 42);
  t.match(commander.counts(), { accepted: 1, done: 1 });
  t.match(lines, [
    { what: 'command carried out', facts: { by: 'hmi', device: 'press-1', point: 'setpoint', value: 42 } },
  ]);
});

t.test('what is refused never reaches the device, and is counted by its reason', async (t) => {
  const { commander, writes } = plant();

  const answers = [
    await commander.handle(request('a', 101)),
    await commander.handle(request('b', 1, { point: 'serial' })),
    await commander.handle(request('c', 1, { point: 'nothing' })),
    await commander.handle(request('d', 1, { device: 'nothing' })),
    await commander.handle(request('e', 1, { retained: true })),
    await commander.handle(request('f', true)),
    await commander.handle(request('g', 1, { device: '__proto__', point: 'constructor' })),
    await commander.handle({ ...request('h', 1), payload: new TextEncoder().encode('{"id":"h"}') }),
  ];

  t.equal(writes.length, 0);
  t.ok(answers.every(({ ok }) => !ok));
  t.match(answers[0], { id: 'a', ok: false, error: /takes values from 0 up to 100/ });
  t.match(answers[7], { id: 'h', ok: false, error: /"value" must be/ });
  t.match(commander.counts(), {
    accepted: 0,
    refused: {
      'outside limits': 1,
      'not writable': 1,
      'unknown point': 1,
      'unknown device': 2,
      retained: 1,
      'wrong type': 1,
      malformed: 1,
    },
  });
});

t.test('a delivery that is repeated is carried out once and answered alike', async (t) => {
  const { commander, writes, go } = plant();

  const first = commander.handle(request('a', 42));
  const during = commander.handle(request('a', 42));
  await settle();
  go(0);
  const after = commander.handle(request('a', 42));

  t.same(await Promise.all([first, during, after]), [
    { id: 'a', ok: true, value: 42 },
    { id: 'a', ok: true, value: 42 },
    { id: 'a', ok: true, value: 42 },
  ]);
  t.equal(writes.length, 1);
  t.match(commander.counts(), { accepted: 1, done: 1, repeated: 2 });
});

t.test('a repeated refusal stays one, even where it would be allowed by now', async (t) => {
  const { commander, clock, writes } = plant({ rate: { perSecond: 1, burst: 0.5 } });

  const first = await commander.handle(request('a', 1));
  await clock.advance(seconds(10));
  const again = await commander.handle(request('a', 1));

  t.match(first, { ok: false, error: /too often/ });
  t.same(again, first);
  t.equal(writes.length, 0);
});

t.test('the id of another asker is another id; the same id for another command is refused', async (t) => {
  const { commander, writes, go } = plant();

  const first = commander.handle(request('a', 42));
  const other = commander.handle(request('a', 43, { by: 'platform' }));
  const reused = await commander.handle(request('a', 44));
  await settle();
  go(0);
  await settle();
  go(1);

  t.match(await first, { ok: true, value: 42 });
  t.match(await other, { ok: true, value: 43 });
  t.match(reused, { id: 'a', ok: false, error: /"a" was used for another command/ });
  t.equal(writes.length, 2);
});

t.test('a retained copy does not use up the id', async (t) => {
  const { commander, go } = plant();

  t.match(await commander.handle(request('a', 1, { retained: true })), { ok: false, error: /retained/ });
  const answer = commander.handle(request('a', 1));
  await settle();
  go(0);

  t.match(await answer, { ok: true });
});

t.test('writes to one device wait for one another, those of another device do not', async (t) => {
  const { commander, writes, go } = plant();

  const answers = [
    commander.handle(request('a', 1)),
    commander.handle(request('b', 2)),
    commander.handle(request('c', 3, { device: 'press-2' })),
  ];
  await settle();
  t.same(
    writes.map(({ point, value }) => [point, value]),
    [
      [0, 1],
      [1, 3],
    ],
  );
  go(0);
  go(1);
  await settle();
  t.same(
    writes.map(({ point, value }) => [point, value]),
    [
      [0, 1],
      [1, 3],
      [0, 2],
    ],
  );
  go(2);

  t.same(
    (await Promise.all(answers)).map((answer) => answer.ok && answer.value),
    [1, 2, 3],
  );
});

t.test('a command that expires while it waits is not carried out', async (t) => {
  const { commander, clock, writes, go } = plant();

  const first = commander.handle(request('a', 1));
  const late = commander.handle(request('b', 2, { expires: clock.now() + 1_000 }));
  await clock.advance(seconds(1));
  go(0);

  t.match(await first, { ok: true });
  t.match(await late, { ok: false, error: /^the command expired at / });
  t.equal(writes.length, 1);
  t.match(commander.counts(), { accepted: 2, done: 1, refused: { expired: 1 } });
});

t.test('a device that refuses, is silent afterwards or holds something else is told apart', async (t) => {
  const refused = new SluiceError('DEVICE_REFUSED', 'press-1 answered illegal data value');
  const silent = new SluiceError('DEVICE_TIMEOUT', 'press-1 did not answer within 1 s');
  const cases = [
    ['not written', /not written: press-1 answered illegal/, { write: async () => Promise.reject(refused) }],
    [
      'not read back',
      /could not be read back: press-1 did not/,
      { write: written, readBack: async () => Promise.reject(silent) },
    ],
    ['differs', /device holds 41/, { write: written, readBack: async () => Promise.resolve(41) }],
  ] as const;

  for (const [key, says, parts] of cases) {
    const { commander, lines } = plant(parts);
    t.match(await commander.handle(request('a', 42)), { id: 'a', ok: false, error: says });
    t.match(commander.counts(), { accepted: 1, done: 0, failed: { [key]: 1 } });
    t.match(lines, [{ what: 'command failed' }]);
  }
});

t.test('a bug in a driver is not an answer', async (t) => {
  const { commander, go } = plant({
    write: async () => Promise.reject(new TypeError('undefined is not a function')),
  });

  await t.rejects(commander.handle(request('a', 42)), TypeError);
  const next = commander.handle(request('b', 42, { device: 'press-2' }));
  go(0);
  await t.rejects(next, TypeError, 'and the lane goes on');
});

t.test('a device is not written to faster than its rate', async (t) => {
  const { commander, clock } = plant({
    rate: { perSecond: 2, burst: 3 },
    write: async () => Promise.resolve(),
    readBack: async () => Promise.resolve(1),
  });
  const ask = async (id: string, device = 'press-1') =>
    (await commander.handle(request(id, 1, { device }))).ok;

  t.same([await ask('1'), await ask('2'), await ask('3'), await ask('4')], [true, true, true, false]);
  t.equal(await ask('5', 'press-2'), true, 'each device has its own');
  await clock.advance(seconds(0.5));
  t.same([await ask('6'), await ask('7')], [true, false]);
  t.equal(commander.counts().refused['too often'], 2);
});

t.test('the queue is bounded and says so', async (t) => {
  const { commander, writes, go, lines } = plant({ rate: { perSecond: 1, burst: 1_000 } });

  const answers = Array.from({ length: MOST_COMMANDS + 5 }, (_, i) => commander.handle(request(`${i}`, 1)));
  await settle();
  for (let i = 0; i < MOST_COMMANDS; i++) {
    t.equal(writes.length, i + 1);
    go(i);
    await settle();
    await settle();
  }
  const ended = await Promise.all(answers);

  const busy = ended.filter((answer): answer is Extract<CommandResult, { ok: false }> => !answer.ok);
  t.equal(busy.length, 5);
  t.match(busy[0]?.error, /64 commands are waiting already/);
  t.equal(lines.filter(({ what }) => what === 'command refused').length, 1, 'told once');
  t.equal(commander.counts().refused.busy, 5);
});

t.test('refusals are told once a minute with their number', async (t) => {
  const { commander, clock, lines } = plant();

  for (let i = 0; i < 10; i++) await commander.handle(request(`${i}`, 1, { point: 'serial' }));
  await clock.advance(minutes(1));
  await commander.handle(request('x', 1, { point: 'serial' }));

  t.match(
    lines.map(({ facts }) => facts?.['refusedSoFar']),
    [1, 11],
  );
});

t.test('when the gateway stops, what waits is refused and what runs is ended by its signal', async (t) => {
  const { commander, stop } = plant({
    write: async (_point, _value, signal) =>
      new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
  });

  const running = commander.handle(request('a', 1));
  const waiting = commander.handle(request('b', 2));
  await settle();
  stop.abort();

  t.match(await running, { ok: false, error: 'it was not written: the gateway is stopping' });
  t.match(await waiting, { ok: false, error: /stopping; nothing was written/ });
  t.match(await commander.handle(request('c', 3)), { ok: false, error: /stopping/ });
});

t.test('recent ids are bounded per asker and over all askers', (t) => {
  const recent = new Recent<number>();

  for (let i = 0; i <= IDS_PER_ASKER; i++) recent.remember('a', `${i}`, i);
  t.equal(recent.find('a', '0'), undefined);
  t.equal(recent.find('a', '1'), 1);
  recent.remember('quiet', 'x', 7);
  for (let i = 0; i < 10 * IDS_PER_ASKER; i++) recent.remember('a', `more ${i}`, i);
  t.equal(recent.find('quiet', 'x'), 7, 'an asker cannot push out what another one asked');

  for (let i = 0; i < ASKERS; i++) recent.remember(`asker ${i}`, 'x', i);
  t.equal(recent.find('quiet', 'x'), undefined);
  t.equal(recent.find('asker 0', 'x'), 0);
  t.end();
});
