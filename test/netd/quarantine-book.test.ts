import t from 'tap';
import { epochMs, hours, milliseconds, minutes } from '../../src/core/units.ts';
import { sinceBoot } from '../../src/netd/monotonic.ts';
import { CLOCK_GRACE, type Entry, lasting, leftOf, QuarantineBook } from '../../src/netd/quarantine-book.ts';

// How long a quarantine still lasts, whatever clocks do.

const START = { left: hours(2), boot: 'one', at: minutes(60), wall: epochMs(Date.UTC(2026, 10, 1)) };
const clocks = (boot: string, at: number, passed: number) => ({
  boot,
  at: milliseconds(at),
  wall: epochMs(START.wall + passed),
});

t.test('within one start of the machine the clock of the wall means nothing', async (t) => {
  for (const jump of [0 - hours(24 * 365), 0, hours(24 * 365)]) {
    t.equal(leftOf(START, clocks('one', minutes(90), jump)), minutes(90));
    t.equal(leftOf(START, clocks('one', hours(3), jump)), 0);
  }
});

t.test('over a start it counts what the wall says, once that can be believed', async (t) => {
  t.equal(leftOf(START, clocks('two', minutes(11), hours(1))), hours(1));
  t.equal(leftOf(START, clocks('two', minutes(1), hours(3))), CLOCK_GRACE - minutes(1), 'not at once');
  t.equal(leftOf(START, clocks('two', minutes(10), hours(3))), 0);
  t.equal(leftOf(START, clocks('two', minutes(11), 0 - hours(9_999))), hours(2), 'never more than there was');
});

const of = (device: string, left: Entry['left']): Entry => ({
  ...{ device, mac: undefined, addresses: [device], who: 'root', because: 'x', since: epochMs(0) },
  left,
});

t.test('nothing is due while nobody has a time, or one that was written down just now', async (t) => {
  const book = new QuarantineBook(t.testdir());
  t.notOk(book.isDue());
  book.write([of('10.20.10.9', undefined), of('10.20.10.8', lasting(hours(1)))]);
  t.notOk(book.isDue());

  book.write([of('10.20.10.9', undefined), of('10.20.10.8', lasting(milliseconds(0)))]);
  t.ok(book.isDue(), 'somebody has to be released');

  book.write([of('10.20.10.8', { ...lasting(hours(1)), at: milliseconds(sinceBoot() - minutes(11)) })]);
  t.ok(book.isDue(), 'what was counted has to be written down');
  book.checkpoint();
  t.notOk(book.isDue());
});
