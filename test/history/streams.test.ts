import t from 'tap';
import { type Batch, BatchBuilder } from '../../src/core/batch.ts';
import { milliseconds } from '../../src/core/units.ts';
import { Streams } from '../../src/store/history/streams.ts';

class Stopwatch {
  passed = 0;
  elapsed = () => milliseconds(this.passed);
}

/** Batches without end; `ended` hears when nobody wants more of them. */
function* endless(ended: () => void = () => {}): Generator<Batch, void, void> {
  try {
    for (;;) yield new BatchBuilder().peek();
  } finally {
    ended();
  }
}

t.test('a stream is read to its end, once', (t) => {
  const streams = new Streams(new Stopwatch());
  streams.add(1, function* () {
    yield new BatchBuilder().peek();
  });

  t.match(streams.next(1), { count: 0 });
  t.equal(streams.next(1), undefined);
  t.equal(streams.size, 0);
  t.end();
});

t.test('of many that are opened only some are, and those that are left make room', (t) => {
  const streams = new Streams(new Stopwatch());
  for (let number = 0; number < 8; number++) streams.add(number, endless);

  let isRead = false;
  const add = (): void =>
    streams.add(8, () => {
      isRead = true;
      return endless();
    });
  t.throws(add, { code: 'STORE_FAILED', remedy: /wait/ });
  t.notOk(isRead, 'nothing is read for it');
  streams.leave(3);
  streams.add(9, endless);

  t.match(streams.next(9), { count: 0 });
  t.end();
});

t.test(
  'one that nobody reads for long lets go of what it holds, and does not end as if it were read',
  (t) => {
    const clock = new Stopwatch();
    const streams = new Streams(clock);
    let ended = 0;
    streams.add(1, () => endless(() => ended++));
    streams.add(2, endless);
    streams.next(1);

    clock.passed += 90_000;
    streams.next(2);
    streams.forgetIdle();
    t.equal(streams.size, 2);
    clock.passed += 60_000;
    streams.forgetIdle();

    t.equal(ended, 1);
    t.throws(() => streams.next(1), { code: 'STORE_FAILED', remedy: /again/ });
    t.match(streams.next(2), { count: 0 });
    t.end();
  },
);
