import t from 'tap';
import { BatchBuilder } from '../../src/core/batch.ts';
import { SluiceError } from '../../src/core/errors.ts';
import { milliseconds } from '../../src/core/units.ts';
import { createPipeline } from '../../src/telemetry/pipeline.ts';
import { RecordingLog } from '../mqtt/recording-log.ts';
import { HandClock, settle } from '../support/clock.ts';
import { fakePoint } from '../support/fake-line.ts';

const TICK = milliseconds(100);

/** A pipeline of one point into a store whose answers the test gives. */
function running() {
  const clock = new HandClock();
  const log = new RecordingLog();
  const intake = new BatchBuilder();
  const appends: PromiseWithResolvers<void>[] = [];
  const pipeline = createPipeline({
    points: [fakePoint(0)],
    intake,
    append: async () => {
      const answer = Promise.withResolvers<void>();
      appends.push(answer);
      return answer.promise;
    },
    clock,
    log,
  });
  const stop = new AbortController();
  const ended = pipeline.run(stop.signal);
  const sample = async (value: number): Promise<void> => {
    intake.addNumber(0, clock.now(), value);
    await clock.advance(TICK);
  };
  return { appends, clock, ended, log, pipeline, sample, stop };
}

t.test('a store that does not answer holds up neither the next samples nor the stop', async (t) => {
  const { appends, ended, pipeline, sample, stop } = running();
  for (const value of [1, 2, 3]) await sample(value);
  t.equal(appends.length, 3);

  stop.abort();
  await ended;

  t.same(pipeline.counters, { read: 3, reported: 3 });
});

t.test('that the store takes no samples is said once, and once that it takes them again', async (t) => {
  const { appends, ended, log, sample, stop } = running();
  for (const value of [1, 2, 3]) {
    await sample(value);
    appends.at(-1)?.reject(new SluiceError('OUTBOX_FULL', 'no room'));
    await settle();
  }
  await sample(4);
  appends.at(-1)?.resolve();
  await settle();
  stop.abort();
  await ended;

  t.equal(log.count(/samples are lost/), 1);
  t.equal(log.count(/takes samples again/), 1);
});
