import t from 'tap';
import { reconnectWait, unitWait } from '../../src/drivers/backoff.ts';
import { closed, newBreaker, opened } from '../../src/drivers/breaker.ts';
import { Limiter } from '../../src/drivers/limiter.ts';
import { RoundTrips } from '../../src/drivers/round-trips.ts';
import { settle } from '../support/clock.ts';

const middle = () => 0.5;

t.test('waits of a unit grow by 1.5, 3, 6 and 12 times what an attempt costs', (t) => {
  t.same(
    [1, 2, 3, 4, 5, 100].map((failures) => unitWait(failures, 1_000, middle)),
    [1_500, 3_000, 6_000, 12_000, 12_000, 12_000],
  );
  t.equal(unitWait(1, 3, middle), 750, 'a wrong echo costs nothing and has a floor');
  t.equal(unitWait(9, 60_000, middle), 60_000, 'a minute at most');
  t.equal(
    unitWait(1, 1_000, () => 0),
    1_200,
  );
  t.equal(reconnectWait(10_000, middle), 60_000, 'a year of failures is no overflow');
  t.end();
});

t.test('a unit that answered for longer than its wait starts from the beginning', (t) => {
  const breaker = newBreaker();
  opened(breaker, 1_000, 1_000, middle);
  opened(breaker, 3_500, 1_000, middle);
  t.equal(breaker.lastWait, 3_000);
  t.equal(breaker.silentSince, 0, 'silent since the first request that was not answered');

  closed(breaker, 6_500);
  opened(breaker, 7_500, 1_000, middle);
  t.equal(breaker.lastWait, 6_000, 'it flaps');

  closed(breaker, 14_000);
  opened(breaker, 20_000, 1_000, middle);
  t.equal(breaker.lastWait, 1_500);
  t.end();
});

t.test('a limiter gives turns in order and forgets who has left', async (t) => {
  const limiter = new Limiter(1);
  const patient = new AbortController();
  const gone = new AbortController();
  const order: string[] = [];
  await limiter.acquire(patient.signal);
  const a = limiter.acquire(gone.signal).catch(() => order.push('a left'));
  const b = limiter.acquire(patient.signal).then(() => order.push('b'));
  const c = limiter.acquire(patient.signal).then(() => order.push('c'));

  gone.abort();
  await settle();
  t.same(order, ['a left']);
  limiter.release();
  await settle();
  t.same(order, ['a left', 'b']);
  limiter.release();
  await Promise.all([a, b, c]);
  t.same(order, ['a left', 'b', 'c']);
  limiter.release();
  await limiter.acquire(patient.signal);
  await t.rejects(limiter.acquire(gone.signal));
});

t.test('the percentile of round trips is at most a tenth off and follows what is new', (t) => {
  const roundTrips = new RoundTrips();
  t.ok(Number.isNaN(roundTrips.percentile(0.99)));
  for (let i = 1; i <= 1_000; i++) roundTrips.add(i / 10);

  const p99 = roundTrips.percentile(0.99);
  t.ok(p99 >= 99 && p99 <= 99 * 1.1, `${p99} for 99`);
  const p50 = roundTrips.percentile(0.5);
  t.ok(p50 >= 50 && p50 <= 50 * 1.1, `${p50} for 50`);

  for (let i = 0; i < 100_000; i++) roundTrips.add(1);
  t.ok(roundTrips.percentile(0.99) < 1.1);
  t.equal(roundTrips.last, 1);
  roundTrips.add(0);
  roundTrips.add(1e9);
  t.ok(roundTrips.percentile(1) > 90_000);
  t.end();
});
