import * as fc from 'fast-check';
import t from 'tap';
import { milliseconds, minutes, seconds } from '../../src/core/units.ts';
import { type Behaviour, FakeLine, fakePolls } from '../support/fake-line.ts';
import { Plant, type Row } from './plant.ts';

const UNITS = 4;
const TROUBLE = 60_000;

/** What a unit does from `from` ms on. */
const episodes = fc.array(
  fc.record({
    unit: fc.integer({ min: 1, max: UNITS }),
    from: fc.nat(TROUBLE),
    length: fc.nat(20_000),
    behaviour: fc.constantFrom<Behaviour>('timeout', 'timeout', 'mismatch', 'refused', 'bug', 'lost'),
  }),
  { maxLength: 12 },
);
const outages = fc.array(fc.record({ from: fc.nat(TROUBLE), length: fc.nat(20_000) }), { maxLength: 2 });

t.test(
  'whatever devices and connections do, the protocol is kept, and all is well soon after they are',
  async (t) => {
    await fc.assert(
      fc.asyncProperty(
        episodes,
        outages,
        fc.integer({ min: 1, max: 4 }),
        async (troubles, gone, inFlight) => {
          const plant = new Plant();
          const line = new FakeLine(plant.clock, fakePolls(UNITS, [seconds(2), seconds(11)]), {
            inFlight,
            rtt: milliseconds(30),
            behave: (unit, _, at) => {
              const since = at - plant.start;
              const now = troubles.find(
                (one) => one.unit === Number(unit) && since >= one.from && since < one.from + one.length,
              );
              return now?.behaviour ?? 'answers';
            },
            reachable: (at) =>
              !gone.some(({ from, length }) => at - plant.start >= from && at - plant.start < from + length),
          });

          const runner = plant.run([line]);
          await plant.clock.advance(milliseconds(TROUBLE + 20_000));
          const during = plant.take();
          // The longest back-off of a connection, and of a unit behind it.
          await plant.clock.advance(minutes(2));
          const after = plant.take();
          const [state] = runner.lineStates();
          await plant.end();

          const last = new Map(after.map((row) => [row.point, row]));
          return (
            line.breaches.length === 0 &&
            line.closed === 1 &&
            plant.clock.sleeping === 0 &&
            isOrdered([...during, ...after]) &&
            last.size === 2 * UNITS &&
            [...last.values()].every(({ quality }) => quality === 0) &&
            state?.units.every(({ breaker, silent }) => breaker === 'closed' && !silent) === true &&
            told(plant).every(({ states }) =>
              states.every((one, i) => one === (i % 2 === 0 ? 'silent' : 'back')),
            )
          );
        },
      ),
      { numRuns: 25 },
    );
    t.pass('no script of troubles breaks it');
  },
);

function isOrdered(rows: readonly Row[]): boolean {
  const times = new Map<number, number>();
  return rows.every(({ point, time }) => {
    const before = times.get(point) ?? 0;
    times.set(point, time);
    return time >= before;
  });
}

/** What people were told of each device, in order; silent and back have to alternate, and end with back. */
function told(plant: Plant): { states: readonly string[] }[] {
  const devices = new Set(plant.told.map(({ device }) => device));
  return [...devices].map((device) => ({
    states: plant.told.filter((one) => one.device === device).map(({ state }) => state),
  }));
}
