import t from 'tap';
import { epochMs, minutes } from '../../src/core/units.ts';
import { encodeRollups } from '../../src/telemetry/rollup-text.ts';
import { meanOf, rollUp } from '../../src/telemetry/rollup.ts';
import { decodeRollups } from '../telemetry/rollups.ts';
import { batchOf, good } from '../telemetry/rows.ts';

t.test('the mean of the largest double, which rounding would make infinite, is kept', async (t) => {
  const start = epochMs(Date.UTC(2026, 10, 26));
  for (const value of [Number.MAX_VALUE, -Number.MAX_VALUE, 5e-324]) {
    const rollups = rollUp(batchOf([good(0, start, value)]), Uint32Array.of(0), 0, 1, minutes(1));

    const text = Buffer.from(encodeRollups(start, minutes(1), rollups));
    const [read] = decodeRollups(start, minutes(1), text);

    t.equal(read === undefined ? undefined : meanOf(read), value);
    t.match(read, { min: value, max: value, first: value, last: value });
  }
});
