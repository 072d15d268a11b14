import t from 'tap';
import { systemClock } from '../../src/core/clock.ts';
import { days, milliseconds } from '../../src/core/units.ts';

t.test('a sleep beyond what a timer takes goes on, and ends with its signal', async (t) => {
  const stop = new AbortController();
  const warnings: string[] = [];
  const note = ({ name }: Error): void => void warnings.push(name);
  process.on('warning', note);
  t.teardown(() => process.off('warning', note));

  // 2^31 ms are 24.8 days: a longer timer of Node fires after 1 ms.
  const long = systemClock.sleep(days(50_000), stop.signal).then(() => 'long');
  const first = await Promise.race([long, systemClock.sleep(milliseconds(20)).then(() => 'short')]);

  t.equal(first, 'short');
  stop.abort(new Error('enough'));
  await t.rejects(long, { message: 'enough' });
  t.same(warnings, []);
});
