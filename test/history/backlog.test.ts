import { randomBytes } from 'node:crypto';
import t, { type Test } from 'tap';
import { BatchBuilder, valueAt } from '../../src/core/batch.ts';
import { silentLog } from '../../src/core/log.ts';
import { days, epochMs } from '../../src/core/units.ts';
import { LogTail } from '../../src/store/history/log-tail.ts';
import { type Reader, openReader } from '../../src/store/history/reader.ts';
import { DAY, HOUR, NAMES, NOON, SECOND, Site, WEEK, lineOf, linesOf, regular } from './fixture.ts';

// What is committed and in no file yet is in every answer, however much it is and whoever gives the answer.

function linesBy(reader: Reader, from: number, to: number): string[] {
  const { names, batches } = reader.samples({ points: ['*/*'], from: epochMs(from), to: epochMs(to) });
  const lines: string[] = [];
  for (const batch of batches)
    for (let i = 0; i < batch.count; i++) {
      const name = names[batch.points[i] ?? 0] ?? { device: '', point: '' };
      lines.push(lineOf(name, batch.times[i] ?? 0, valueAt(batch, i), batch.qualities[i] ?? -1));
    }
  return lines.sort();
}

function besideOf(t: Test, site: Site): Reader {
  const beside = openReader({ folder: site.folder, log: silentLog });
  t.teardown(() => beside.close());
  return beside;
}

t.test(
  'while filing is blocked an answer has the newest samples, which find no place in memory',
  async (t) => {
    const site = new Site(t, { small: { headSamples: 4 } });
    site.log.start(NOON);
    for (let k = 0; k < 20; k++) {
      const at = NOON + k * SECOND;
      const state = { point: 3, time: at, value: randomBytes(100_000).toString('hex') }; // a page of the log is a megabyte
      site.commit([...regular(at, 1).slice(0, 3), state], at);
    }
    site.clock.advance(20 * SECOND);

    // Nobody steps: nothing is filed.
    const { reader } = site.historian;
    t.same(linesBy(reader, NOON, NOON + HOUR), linesOf(site.truth), 'samples');
    t.same(
      reader.last(['*/*']).map(({ time }) => time),
      NAMES.map(() => NOON + 19 * SECOND),
      'last',
    );
    const [trace] = reader.history({
      points: ['*/power'],
      from: epochMs(NOON),
      to: epochMs(NOON + HOUR),
      width: 60,
    });
    t.equal(
      trace?.counts.reduce((sum, count) => sum + count, 0),
      20,
      'a chart',
    );
    t.ok(site.historian.state().samplesWaiting < 60, 'half of them do not fit');
    t.equal(site.historian.state().behind, 20 * SECOND, 'it says how far behind it is');

    await site.settle();
    t.same(linesBy(reader, NOON, NOON + HOUR), linesOf(site.truth), 'once they are filed');
    t.ok(site.historian.state().samplesWaiting < 80);
  },
);

t.test('what is older than raw keeps is not shown as raw before it is filed either', async (t) => {
  const site = new Site(t, { retention: { ...WEEK, raw: days(1) } });
  site.commit(regular(NOON - 3 * DAY, 60));
  site.commit(regular(NOON, 60));
  const ask = { points: ['*/*'], from: epochMs(NOON - 4 * DAY), to: epochMs(NOON + HOUR) };
  const kept = linesOf(site.truth.filter(({ time }) => time >= NOON - DAY));
  const says = (when: string): void => {
    for (const [who, reader] of [
      ['the historian', site.historian.reader],
      ['another process', besideOf(t, site)],
    ] as const) {
      t.same(linesBy(reader, ask.from, ask.to), kept, `${who}, ${when}`);
      const [trace] = reader.history({ ...ask, points: ['*/power'], width: 100, tier: 'hour' });
      t.same([...(trace?.counts ?? [])], [60, 60], `rollups, ${who}, ${when}`);
    }
  };

  says('before it is filed');
  await site.settle();
  await site.nextHour();
  says('when it is filed');
});

t.test('the newest sample of a long log takes little memory to find', (t) => {
  const site = new Site(t);
  const COUNT = 600_000;
  for (let from = 0; from < COUNT; from += 60_000) {
    const elements = Array.from({ length: 60_000 }, (_, k) => `[${from + k},1,[${from + k}]]`);
    if (from === 0) site.log.add([{ point: 0, time: NOON, value: -1 }], NOON);
    site.log.row(0, NOON, 60_000, `[${elements.join(',')}]`);
  }
  const tail = new LogTail(site.folder, silentLog);
  t.teardown(() => tail.close());
  tail.refresh();
  const into = new BatchBuilder();
  const names = NAMES.slice(0, 1);
  // oxlint-disable-next-line typescript/unbound-method -- it is called with its own object
  const peeked = t.capture(BatchBuilder.prototype, 'peek', BatchBuilder.prototype.peek);

  tail.last(names, into);

  const most = Math.max(...peeked().map((call) => ('returned' in call ? call.returned.count : 0)));
  t.ok(most < 200_000, `${most} samples at a time`);
  t.equal(into.count, 1);
  t.equal(valueAt(into.peek(), 0), COUNT - 1);
  t.end();
});
