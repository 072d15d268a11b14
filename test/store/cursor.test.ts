import { deepEqual } from 'node:assert/strict';
import * as fc from 'fast-check';
import t from 'tap';
import type { Lane } from '../../src/core/outbox.ts';
import { Cursor, type Queue } from '../../src/store/cursor.ts';
import { type Range, above, atMost, complement, union, withRange } from '../../src/store/ranges.ts';
import { gapsIn, withGap } from '../../src/store/gaps.ts';
import { gapLine } from '../../src/telemetry/encode.ts';

const numbersIn = (ranges: readonly Range[]): Set<number> => {
  const numbers = new Set<number>();
  for (const [after, upto] of ranges) for (let n = after + 1; n <= upto; n++) numbers.add(n);
  return numbers;
};

const anyRange = fc.tuple(fc.nat(60), fc.nat(20)).map(([after, length]): Range => [after, after + length]);

t.test('ranges hold exactly what was added, and joining the closest never loses a number', async (t) => {
  let runs = 0;
  fc.assert(
    fc.property(fc.array(anyRange), fc.nat(80), fc.integer({ min: 1, max: 5 }), (added, position, most) => {
      const ranges = added.reduce(withRange, [] as Range[]);
      const numbers = numbersIn(added);
      deepEqual(union(added), ranges);
      deepEqual(
        [...numbersIn(ranges)].sort((a, b) => a - b),
        [...numbers].sort((a, b) => a - b),
      );
      deepEqual(
        numbersIn(above(ranges, position)),
        new Set([...numbersIn(ranges)].filter((n) => n > position)),
      );
      const few = atMost(ranges, most);
      if (few.length > most) return false;
      const free = numbersIn(complement(ranges, 100));
      for (let n = 1; n <= 100; n++) if (free.has(n) === numbers.has(n)) return false;
      runs++;
      return [...numbers].every((n) => numbersIn(few).has(n));
    }),
    { numRuns: 200 },
  );
  t.equal(runs, 200);
});

t.test('gaps join neighbours of one reason, and are read back from the text that told them', async (t) => {
  const gaps = [
    { from: 10, to: 19, reason: 'disk quota' },
    { from: 20, to: 29, reason: 'disk quota' },
    { from: 30, to: 30, reason: 'disk full' },
    { from: 1, to: 4, reason: 'disk quota' },
  ].reduce(withGap, []);
  t.strictSame(gaps, [
    { from: 1, to: 4, reason: 'disk quota' },
    { from: 10, to: 29, reason: 'disk quota' },
    { from: 30, to: 30, reason: 'disk full' },
  ]);
  t.strictSame(gapsIn(gaps.map((gap, i) => gapLine(i, gap)).join('')), gaps);
});

type Step =
  | { readonly do: 'commit'; readonly event: boolean }
  | { readonly do: 'rewind' }
  | { readonly do: 'crash' }
  | { readonly do: 'read'; readonly lane: Lane; readonly count: number }
  | { readonly do: 'acknowledge'; readonly lane: Lane; readonly which: number };

const anyLane = fc.constantFrom<Lane>('live', 'history');
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant<'commit'>('commit'), event: fc.boolean() }) },
  { weight: 1, arbitrary: fc.constantFrom<Step>({ do: 'rewind' }, { do: 'crash' }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant<'read'>('read'),
      lane: anyLane,
      count: fc.integer({ min: 1, max: 4 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant<'acknowledge'>('acknowledge'), lane: anyLane, which: fc.nat(5) }),
  },
);

t.test(
  'whatever happens, a row is needed until it was acknowledged, is handed out once per connection, and events in order',
  async (t) => {
    let finished = 0;
    fc.assert(
      fc.property(fc.array(anyStep, { minLength: 5, maxLength: 120 }), (steps) => {
        let cursor = new Cursor({ history: [], events: [], live: 0 });
        let head = 0;
        const events = new Set<number>();
        const acknowledged = new Set<number>();
        let inFlight: Record<Lane, number[]> = { live: [], history: [] };
        let handed = new Set<number>();
        /** Rows of the queue that a reader would find now, in order. */
        const found = (queue: Queue): number[] =>
          [...numbersIn(cursor.unread(queue, head))]
            .filter((row) => queue === 'live' || events.has(row) === (queue === 'events'))
            .sort((a, b) => a - b);
        const connect = (): void => {
          cursor.rewind(head);
          inFlight = { live: [], history: [] };
          handed = new Set();
        };
        const read = (lane: Lane, count: number): boolean => {
          const rows: number[] = [];
          for (const queue of lane === 'live' ? (['events', 'live'] as const) : (['history'] as const)) {
            const some = found(queue).slice(0, count - rows.length);
            cursor.hand(queue, some, some.at(-1) ?? 0);
            rows.push(...some);
          }
          inFlight[lane].push(...rows);
          const again = rows.some((row) => handed.has(row));
          for (const row of rows) handed.add(row);
          // An event goes out when every older one that is not acknowledged has gone out in this connection.
          const newest = Math.max(0, ...rows.filter((row) => events.has(row)));
          for (const event of events)
            if (event < newest && !acknowledged.has(event) && !handed.has(event)) return false;
          return !again;
        };
        connect();
        for (const step of steps) {
          if (step.do === 'commit') {
            head++;
            if (step.event) events.add(head);
          } else if (step.do === 'rewind') connect();
          else if (step.do === 'crash') {
            cursor = new Cursor(JSON.parse(JSON.stringify(cursor.place())));
            connect();
          } else if (step.do === 'read') {
            if (!read(step.lane, step.count)) return false;
          } else {
            const [row] = inFlight[step.lane].splice(step.which % Math.max(1, inFlight[step.lane].length), 1);
            if (row === undefined) continue;
            cursor.acknowledge(step.lane, row);
            acknowledged.add(row);
          }
          const needs = cursor.needs();
          const needed = (ranges: readonly Range[]): Set<number> =>
            numbersIn(ranges.map(([after, upto]) => [after, Math.min(upto, head)]));
          const [telemetry, others] = [needed(needs.telemetry), needed(needs.events)];
          for (let row = 1; row <= head; row++)
            if (!acknowledged.has(row) && !(events.has(row) ? others : telemetry).has(row)) return false;
        }
        connect();
        const rest = new Set([...found('events'), ...found('history')]);
        for (let row = 1; row <= head; row++) if (!acknowledged.has(row) && !rest.has(row)) return false;
        finished++;
        return true;
      }),
      { numRuns: 1_000 },
    );
    t.equal(finished, 1_000);
  },
);
