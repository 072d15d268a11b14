import t from 'tap';
import { SluiceError } from '../../src/core/errors.ts';
import type { Consumer, Message } from '../../src/core/outbox.ts';
import { milliseconds, seconds } from '../../src/core/units.ts';
import { Pump } from '../../src/mqtt/sender.ts';
import { HandClock, settle } from '../support/clock.ts';
import { MemoryOutbox } from '../support/memory-outbox.ts';
import { seqs, upTo } from './mosquitto.ts';
import { RecordingLog } from './recording-log.ts';

interface Sent {
  readonly topic: string;
  readonly text: string;
  readonly acknowledge: () => void;
  readonly fail: (error: unknown) => void;
}

const quiet = async () => {
  for (let i = 0; i < 5; i++) await settle();
};

/** A pump into a receiver whose acknowledgements the test gives one by one. */
async function pumping(
  options: { readonly window?: number; readonly before?: number; readonly alarms?: number } = {},
) {
  const outbox = new MemoryOutbox();
  const clock = new HandClock();
  const log = new RecordingLog();
  const sent: Sent[] = [];
  const consumer: Consumer = await outbox.consumer('upstream');
  const add = (from: number, to: number) => {
    for (let seq = from; seq <= to; seq++) outbox.add([[`telemetry/m${seq % 2}`, `{"seq":${seq}}`]]);
  };
  add(1, options.before ?? 0);
  for (let alarm = 1; alarm <= (options.alarms ?? 0); alarm++)
    outbox.add([['event/alarm', `{"alarm":${alarm}}`]]);
  const pump = new Pump({
    consumer,
    window: options.window ?? 8,
    publish: async ({ topic, payload }: Message) =>
      new Promise<void>((acknowledge, fail) => {
        sent.push({ topic, text: Buffer.from(payload).toString(), acknowledge, fail });
      }),
    clock,
    log,
    to: 'test',
  });
  const stop = new AbortController();
  const outcome = { error: undefined as unknown, ended: false };
  const running = pump
    .run(stop.signal)
    .catch((error: unknown) => {
      outcome.error = error;
    })
    .finally(() => {
      outcome.ended = true;
    });
  await quiet();
  return { outbox, clock, log, sent, pump, add, outcome, running, stop };
}

const numbers = (sent: readonly Sent[]) => seqs(sent.map(({ text }) => text));

t.test('live messages find a free place while history fills the rest of the window', async (t) => {
  const { sent, add, clock, outbox, stop, running } = await pumping({ before: 100 });
  t.equal(sent.length, 6, 'a quarter of eight is kept free');
  t.ok(sent.every(({ topic }) => topic.startsWith('history/')));

  add(101, 105);
  await clock.advance(milliseconds(50));
  await quiet();
  t.same(numbers(sent.slice(6)), [101, 102], 'live goes at once');

  sent[0]?.acknowledge();
  await quiet();
  t.same(numbers(sent.slice(8)), [103], 'and takes the next free place, before older history');
  for (let i = 0; i < sent.length; i++) {
    sent[i]?.acknowledge();
    await quiet();
    if (i % 10 === 0) await clock.advance(milliseconds(50));
  }
  t.same(
    [...numbers(sent)].sort((a, b) => a - b),
    upTo(105),
  );
  t.same(
    numbers(sent.filter(({ topic }) => topic.startsWith('history/'))),
    upTo(100),
    'history in its own order',
  );
  t.equal(outbox.waiting('upstream'), 0);
  stop.abort();
  await running;
});

t.test('an alarm of the outage goes before the backlog, and before every newer alarm', async (t) => {
  const { sent, outbox, running, stop, clock } = await pumping({ window: 1, before: 50, alarms: 3 });
  outbox.add([['event/alarm', '{"alarm":4}']]);
  for (let i = 0; i < 54; i++) {
    sent[i]?.acknowledge();
    await quiet();
    await clock.advance(milliseconds(50));
    await quiet();
  }

  const alarms = sent.flatMap(({ topic, text }, i) => (topic === 'event/alarm' ? [[i, text]] : []));
  t.same(alarms.slice(0, 3), [
    [0, '{"alarm":1}'],
    [1, '{"alarm":2}'],
    [2, '{"alarm":3}'],
  ]);
  t.match(alarms[3], [Number, '{"alarm":4}']);
  t.ok(Number(alarms[3]?.[0]) < 10, 'the new one does not wait for the backlog either');
  t.same(
    sent.flatMap(({ topic, text }) => (topic === 'event/alarm' ? [] : seqs([text]))),
    upTo(50),
  );
  t.equal(outbox.waiting('upstream'), 0);
  stop.abort();
  await running;
});

t.test('a row is acknowledged when all its messages are, and not before', async (t) => {
  const { sent, outbox, stop, running } = await pumping();
  outbox.add([
    ['telemetry/a', '{"seq":1}'],
    ['telemetry/b', '{"seq":2}'],
    ['telemetry/c', '{"seq":3}'],
  ]);
  await quiet();
  t.equal(sent.length, 3);
  sent[2]?.acknowledge();
  sent[0]?.acknowledge();
  await quiet();
  t.equal(outbox.waiting('upstream'), 1);
  sent[1]?.acknowledge();
  await quiet();
  t.equal(outbox.waiting('upstream'), 0);
  stop.abort();
  await running;
});

t.test('a message that is refused counts as done and is logged once for its topic', async (t) => {
  const { sent, outbox, pump, log, add, stop, running } = await pumping();
  add(1, 4);
  await quiet();
  for (const { fail } of sent) fail(new SluiceError('MESSAGE_REFUSED', 'no'));
  await quiet();
  t.equal(pump.setAside, 4);
  t.equal(pump.acknowledged, 0);
  t.equal(log.count(/set aside/), 2, 'two topics');
  t.equal(outbox.waiting('upstream'), 0);
  stop.abort();
  await running;
});

t.test('the watchdog looks at the oldest message: 30 s after it was sent, not after the first', async (t) => {
  const { sent, add, clock, outcome, outbox } = await pumping();
  await clock.advance(seconds(20));
  add(1, 1);
  await quiet();
  await clock.advance(seconds(29));
  t.equal(outcome.ended, false);
  sent[0]?.acknowledge();
  await quiet();
  await clock.advance(seconds(100));
  t.equal(outcome.ended, false, 'nothing under way is no trouble');
  add(2, 2);
  await quiet();
  await clock.advance(seconds(29));
  t.equal(outcome.ended, false);
  await clock.advance(seconds(1));
  await clock.advance(seconds(3));
  t.equal(outcome.ended, true);
  t.match(outcome.error, { code: 'CONNECTION_LOST', message: /has not acknowledged .* within 30 s/ });
  t.equal(outbox.waiting('upstream'), 1, 'it is still in the outbox');
});

t.test('urgent messages go first, are bounded, and what is too much is counted', async (t) => {
  const { sent, pump, add, stop, running } = await pumping({ window: 1 });
  add(1, 2);
  await quiet();
  const results = upTo(70).map((i) => pump.urgent({ topic: `result/d/p${i}`, payload: Buffer.from('x') }));
  t.equal(results.filter(Boolean).length, 64);
  t.equal(pump.urgentDropped, 6);
  sent[0]?.acknowledge();
  await quiet();
  t.match(sent[1], { topic: 'result/d/p1' }, 'before the telemetry that waits');
  stop.abort();
  await quiet();
  sent[1]?.acknowledge();
  await running;
});

t.test('an outbox that promises rows and has none is not asked in a hurry', async (t) => {
  const { clock, outbox, stop, running } = await pumping();
  outbox.promising = true;
  outbox.add([]);
  const before = outbox.reads;
  for (let i = 0; i < 10; i++) await clock.advance(milliseconds(50));
  t.ok(outbox.reads - before <= 40, `${outbox.reads - before} reads in half a second`);
  t.ok(outbox.reads - before >= 10, 'but it is asked');
  stop.abort();
  await running;
});

t.test('at a stop what is under way may still be acknowledged, for two seconds', async (t) => {
  const { sent, add, stop, outbox, outcome, clock } = await pumping();
  add(1, 2);
  await quiet();
  stop.abort();
  await quiet();
  t.equal(outcome.ended, false);
  sent[0]?.acknowledge();
  await quiet();
  t.equal(outbox.waiting('upstream'), 1);
  await clock.advance(seconds(2));
  t.equal(outcome.ended, true);
  t.equal(outcome.error, undefined);
});
