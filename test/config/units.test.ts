import * as fc from 'fast-check';
import t from 'tap';
import { parseDeadband } from '../../src/config/deadband.ts';
import { formatDuration, LONGEST, parseDuration } from '../../src/config/duration.ts';
import { parseSize } from '../../src/config/size.ts';
import { milliseconds } from '../../src/core/units.ts';

t.test('durations mean what their unit says', async (t) => {
  const examples: Readonly<Record<string, number>> = {
    '0s': 0,
    '250ms': 250,
    '5s': 5_000,
    '10m': 600_000,
    '12h': 43_200_000,
    '7d': 604_800_000,
    '5y': 157_680_000_000,
    '100y': 3_153_600_000_000,
  };
  for (const [text, length] of Object.entries(examples)) t.equal(parseDuration(text), length, text);
});

t.test('what is no duration is refused', async (t) => {
  for (const text of [
    '',
    '5',
    's',
    '5 s',
    '5S',
    '-5s',
    '+5s',
    '1.5s',
    '5sec',
    '1h30m',
    '0x5s',
    '５s',
    '5s\n',
    '1e3s',
    '101y',
    '99999999999999ms',
  ]) {
    t.equal(parseDuration(text), undefined, JSON.stringify(text));
  }
});

t.test('a formatted duration reads back as itself', async () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.integer({ min: 0, max: LONGEST }),
        fc.integer({ min: 0, max: 100 }).map((n) => n * 86_400_000),
      ),
      (length) => parseDuration(formatDuration(milliseconds(length))) === length,
    ),
  );
  t.equal(formatDuration(milliseconds(90_000)), '90s');
  t.equal(formatDuration(milliseconds(120_000)), '2m');
  t.equal(formatDuration(milliseconds(0)), '0s');
});

t.test('sizes count in thousands, and in 1024 where the unit says so', async (t) => {
  t.equal(parseSize('64MB'), 64_000_000);
  t.equal(parseSize('2GB'), 2_000_000_000);
  t.equal(parseSize('512MiB'), 536_870_912);
  t.equal(parseSize('1kB'), 1_000);
  t.equal(parseSize('1KiB'), 1_024);
  t.equal(parseSize('7B'), 7);
  for (const text of ['', '2', '2 GB', '2gb', '2G', '1.5GB', '-1GB', '1KB', '999999TB']) {
    t.equal(parseSize(text), undefined, JSON.stringify(text));
  }
});

t.test('units never read anything but digits and a unit', async () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      const plain = /^\d+[A-Za-z]+$/.test(text);
      return plain || (parseDuration(text) === undefined && parseSize(text) === undefined);
    }),
  );
});

t.test(
  'a deadband is a width, or a percentage of the span where there is one, else of the value',
  async (t) => {
    const span = { low: -50, high: 150 };
    t.same(parseDeadband(0.2, undefined), { kind: 'absolute', width: 0.2 });
    t.same(parseDeadband('1%', undefined), { kind: 'value-percent', percent: 1 });
    t.same(parseDeadband('1%', span), { kind: 'span-percent', width: 2 });
    t.same(parseDeadband('0.5% of span', span), { kind: 'span-percent', width: 1 });
    t.same(parseDeadband('2 % of value', span), { kind: 'value-percent', percent: 2 });
    for (const text of ['0%', '101%', '1% of span', '1', '-1%', '1% of day', '%']) {
      t.type(parseDeadband(text, undefined), 'string', text);
    }
  },
);
