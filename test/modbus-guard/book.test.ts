import t from 'tap';
import { systemClock } from '../../src/core/clock.ts';
import type { Facts } from '../../src/core/log.ts';
import { milliseconds } from '../../src/core/units.ts';
import { Book } from '../../src/drivers/modbus/guard/book.ts';

// What a person hears of what was forbidden: what matters first, nothing without an end, and nothing lost.

const CONDUIT = 'conduit-supervision-control-0';
const IDENTIFICATION = { function: 43 };
const WRITE = { function: 16, write: 'holding:5', values: '57005' };

function bed() {
  let now = 0;
  const told: { what: string; facts: Facts | undefined }[] = [];
  const events: { kind: string; facts: Facts }[] = [];
  const note = (what: string, facts?: Facts): void => void told.push({ what, facts });
  const book = new Book({
    clock: { ...systemClock, elapsed: () => milliseconds(now) },
    log: { info: note, warn: note, error: note },
    onEvent: (kind, _, facts) => events.push({ kind, facts }),
  });
  const forbid = (client: string, facts: Facts): void =>
    book.tell('guard-forbidden', 'guard: a request is forbidden', { conduit: CONDUIT, client, ...facts });
  return { book, told, events, forbid, wind: (more: number): void => void (now += more) };
}

t.test('what changes nothing hides no write', async (t) => {
  const { told, forbid } = bed();
  for (let i = 0; i < 100; i += 1) forbid('10.20.40.5', IDENTIFICATION);
  t.equal(told.length, 5);

  forbid('10.20.40.5', WRITE);

  t.match(told[5], { what: 'guard: a request is forbidden', facts: WRITE });
});

t.test('what was left out is told at the next sweep, with its functions and its writes', async (t) => {
  const { book, told, events, forbid, wind } = bed();
  for (let i = 0; i < 100; i += 1) forbid('10.20.40.5', IDENTIFICATION);
  for (let i = 0; i < 5; i += 1) forbid('10.20.40.5', { function: 6, write: 'holding:9', values: '1' });
  forbid('10.20.40.5', WRITE);
  forbid('10.20.40.5', { function: 16 }); // one that cannot be read
  const before = told.length;

  book.sweep();
  t.equal(told.length, before, 'not before more of it could have come');
  wind(10_000);
  book.sweep();

  const facts = {
    conduit: CONDUIT,
    requests: 'function 43: 95, function 16: 2',
    writes: '10.20.40.5: holding:5 = 57005; 10.20.40.5: function 16',
  };
  t.same(told.slice(before), [{ what: 'guard: more of it than is told one by one', facts }]);
  t.same(events.at(-1), { kind: 'guard-left-out', facts });
  wind(60_000);
  book.sweep();
  t.equal(told.length, before + 1, 'once');
});

t.test('what was left out when the gateway stops is told then', async (t) => {
  const { book, told, forbid } = bed();
  for (let i = 0; i < 6; i += 1) forbid('10.20.40.5', WRITE);

  book.close();

  t.match(told[5], { facts: { requests: 'function 16: 1', writes: '10.20.40.5: holding:5 = 57005' } });
});

t.test('whoever has thousands of addresses gets no more lines than its conduit has', async (t) => {
  const { book, told, events, forbid, wind } = bed();
  for (let i = 0; i < 3_000; i += 1)
    for (let k = 0; k < 6; k += 1) forbid(`fd00:40::${i.toString(16)}`, WRITE);
  t.equal(told.length, 50);
  forbid('10.20.40.5', IDENTIFICATION);
  t.equal(told.length, 51, 'what is no write has its own');

  wind(10_000);
  book.sweep();
  t.match(told[51], { facts: { requests: 'function 16: 17950' } }, 'nothing is lost');
  for (let i = 0; i < 100; i += 1) forbid(`fd00:40::1:${i.toString(16)}`, WRITE);
  t.equal(told.length, 62, 'one more for each second');
  t.equal(events.length, told.length);
});
