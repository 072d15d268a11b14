import t from 'tap';
import { type Batch, BatchBuilder } from '../../src/core/batch.ts';
import { SluiceError } from '../../src/core/errors.ts';
import { milliseconds, minutes } from '../../src/core/units.ts';
import { createPipeline } from '../../src/telemetry/pipeline.ts';
import { RecordingLog } from '../mqtt/recording-log.ts';
import { HandClock, settle } from '../support/clock.ts';
import { fakePoint } from '../support/fake-line.ts';
import { rowsOf } from './rows.ts';

const TICK = milliseconds(100);

interface Taken {
  readonly batch: Batch;
  readonly answer: PromiseWithResolvers<void>;
}

/** A pipeline of one point into a store whose answers the test gives. */
function running() {
  const clock = new HandClock();
  const log = new RecordingLog();
  const intake = new BatchBuilder();
  const appends: Taken[] = [];
  const records: Taken[] = [];
  const into =
    (list: Taken[]) =>
    async (batch: Batch): Promise<void> => {
      const answer = Promise.withResolvers<void>();
      list.push({ batch, answer });
      return answer.promise;
    };
  const pipeline = createPipeline({
    points: [fakePoint(0)],
    intake,
    append: into(appends),
    record: into(records),
    clock,
    log,
  });
  const stop = new AbortController();
  const ended = pipeline.run(stop.signal);
  const sample = async (value: number): Promise<void> => {
    intake.addNumber(0, clock.now(), value);
    await clock.advance(TICK);
  };
  return { appends, clock, ended, intake, log, pipeline, records, sample, stop };
}

const valuesOf = (list: readonly Taken[]): unknown[] =>
  list.flatMap(({ batch }) => rowsOf(batch).map(({ value }) => value));

t.test('a store that does not answer holds up neither the next samples nor the stop', async (t) => {
  const { appends, ended, pipeline, sample, stop } = running();
  for (const value of [1, 2, 3]) await sample(value);
  t.equal(appends.length, 3);

  stop.abort();
  await ended;

  t.same(pipeline.counters, { read: 3, reported: 3 });
});

t.test('every sample is recorded, whatever the filter makes of it', async (t) => {
  const { appends, clock, ended, records, sample, stop } = running();
  for (const value of [1, 1, 1, 2]) await sample(value);
  const before = [valuesOf(appends), valuesOf(records)];
  await clock.advance(minutes(60));
  stop.abort();
  await ended;

  t.same(before, [
    [1, 2],
    [1, 1, 1, 2],
  ]);
  t.ok(appends.length > 2, 'the filter repeats what was last reported');
  const times = records.flatMap(({ batch }) => rowsOf(batch).map(({ time }) => time));
  t.same(new Set(times).size, times.length, 'but what no device sent is not recorded');
});

t.test('what is recorded belongs to the store, and what goes up is not hurt by that', async (t) => {
  const { appends, ended, records, sample, stop } = running();
  await sample(7);
  const [recorded] = records;
  if (recorded !== undefined)
    structuredClone(recorded.batch.values, { transfer: [recorded.batch.values.buffer] });
  stop.abort();
  await ended;

  t.equal(recorded?.batch.values.length, 0, 'its columns are gone');
  t.same(valuesOf(appends), [7]);
});

t.test('that the store takes no samples is said once, and once that it takes them again', async (t) => {
  for (const [which, lost, again] of [
    ['appends', /samples are lost/, /takes samples again/],
    ['records', /missing in the history/, /reach the history again/],
  ] as const) {
    const { [which]: taken, ended, log, sample, stop } = running();
    for (const value of [1, 2, 3]) {
      await sample(value);
      taken.at(-1)?.answer.reject(new SluiceError('OUTBOX_FULL', 'no room'));
      await settle();
    }
    await sample(4);
    taken.at(-1)?.answer.resolve();
    await settle();
    stop.abort();
    await ended;

    t.equal(log.count(lost), 1, which);
    t.equal(log.count(again), 1);
    t.equal(log.count(/./), 2);
  }
});
