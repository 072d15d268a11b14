import t from 'tap';
import { decide, type Question } from '../../src/commands/decide.ts';
import { sameOnWire } from '../../src/commands/same.ts';
import type { PointConfig } from '../../src/config/config.ts';
import type { PointValue } from '../../src/core/batch.ts';
import { epochMs } from '../../src/core/units.ts';
import { coapSource, modbusSource, pointOf } from './points.ts';

const now = epochMs(1_795_516_800_000);

function ask(point: PointConfig | undefined, value: PointValue, more: Partial<Question> = {}) {
  return decide({
    command: { id: '7f', device: 'press-1', point: 'setpoint', value, by: 'hmi' },
    point,
    deviceKnown: true,
    retained: false,
    expires: undefined,
    now,
    ...more,
  });
}

t.test('a writable point takes a value that fits', (t) => {
  t.same(ask(pointOf(modbusSource('bool')), true), { allowed: true });
  t.same(ask(pointOf(modbusSource('uint16', { bit: 3 })), false), { allowed: true });
  t.same(ask(pointOf(modbusSource('float32')), 21.3), { allowed: true });
  t.same(ask(pointOf(coapSource('string')), 'on'), { allowed: true });
  t.end();
});

t.test('everything else is denied with its reason', (t) => {
  const point = pointOf(modbusSource('int16'));

  t.match(ask(point, 1, { retained: true }), { allowed: false, key: 'retained' });
  t.match(ask(undefined, 1, { deviceKnown: false }), {
    allowed: false,
    key: 'unknown device',
    because: /no device "press-1"/,
  });
  t.match(ask(undefined, 1), {
    allowed: false,
    key: 'unknown point',
    because: /press-1 has no point "setpoint"/,
  });
  t.match(ask(pointOf(modbusSource('int16'), { writable: false }), 1), {
    allowed: false,
    key: 'not writable',
  });
  t.match(ask(point, 1, { expires: now }), { allowed: false, key: 'expired' });
  t.same(ask(point, 1, { expires: epochMs(now + 1) }), { allowed: true });
  t.end();
});

t.test('the type of the value is that of the point; nothing is guessed', (t) => {
  const wrong: readonly (readonly [PointConfig, PointValue])[] = [
    [pointOf(modbusSource('bool')), 1],
    [pointOf(modbusSource('bool')), 'true'],
    [pointOf(modbusSource('uint16', { bit: 3 })), 1],
    [pointOf(modbusSource('int16')), true],
    [pointOf(modbusSource('int16')), '1'],
    [pointOf(modbusSource('float32')), '1.5'],
    [pointOf(modbusSource('int64')), '1.5'],
    [pointOf(modbusSource('int64')), ''],
    [pointOf(modbusSource('int64'), { scale: 0.1 }), '15'],
    [pointOf(modbusSource('string')), 5],
    [pointOf(coapSource('number')), '5'],
    [pointOf(coapSource('bool')), 0],
    [pointOf(coapSource('string')), false],
  ];
  for (const [point, value] of wrong) {
    const label = `${JSON.stringify(point.source)} ${JSON.stringify(value)}`;
    t.match(ask(point, value), { allowed: false, key: 'wrong type' }, label);
  }
  t.end();
});

t.test('each type of the wire has its ends, and nothing beyond them wraps', (t) => {
  const ends: readonly (readonly [
    Parameters<typeof modbusSource>[0],
    PointValue,
    PointValue,
    PointValue,
    PointValue,
  ])[] = [
    ['int16', -32_768, 32_767, -32_769, 32_768],
    ['uint16', 0, 65_535, -1, 65_536],
    ['int32', -2_147_483_648, 2_147_483_647, -2_147_483_649, 2_147_483_648],
    ['uint32', 0, 4_294_967_295, -1, 4_294_967_296],
    ['int64', '-9223372036854775808', '9223372036854775807', '-9223372036854775809', '9223372036854775808'],
    ['uint64', '0', '18446744073709551615', '-1', '18446744073709551616'],
    ['bcd16', 0, 9_999, -1, 10_000],
    ['bcd32', 0, 99_999_999, -1, 100_000_000],
    ['float32', -3.4028234663852886e38, 3.4028234663852886e38, -3.41e38, 3.41e38],
  ];
  for (const [type, low, high, below, above] of ends) {
    const point = pointOf(modbusSource(type));
    for (const inside of [low, high]) t.same(ask(point, inside), { allowed: true }, `${type} ${inside}`);
    for (const outside of [below, above])
      t.match(ask(point, outside), { key: 'out of range' }, `${type} ${outside}`);
  }
  t.match(ask(pointOf(modbusSource('int64')), 2 ** 53), {
    key: 'out of range',
    because: /send the digits as a text/,
  });
  t.match(ask(pointOf(modbusSource('uint64')), 1e30), {
    key: 'out of range',
    because: /holds 0 to 18446744073709551615/,
  });
  t.end();
});

t.test('scale and offset move the ends, and a value between two steps is refused', (t) => {
  const point = pointOf(modbusSource('int16'), { scale: 0.1, offset: -40 });

  for (const value of [-3316.8, 3236.7, 21.3, -40, 0.7, -12.9])
    t.same(ask(point, value), { allowed: true }, `${value}`);
  t.match(ask(point, 3236.8), { key: 'out of range', because: /holds -3316.8 to 3236.7/ });
  t.match(ask(point, 21.35), { key: 'out of range', because: /steps of 0.1, so 21.35 would be rounded/ });
  t.match(ask(pointOf(modbusSource('uint16')), 0.5), { key: 'out of range', because: /takes whole numbers/ });
  t.match(ask(pointOf(modbusSource('uint16'), { scale: -1 }), 1), {
    key: 'out of range',
    because: /holds -65535 to 0/,
  });
  t.end();
});

t.test('min and max are limits, both included', (t) => {
  const point = pointOf(modbusSource('float32'), { min: 5, max: 80, unit: 'Cel' });

  for (const value of [5, 80, 42.5]) t.same(ask(point, value), { allowed: true });
  for (const value of [4.999, 80.001, -1e30]) {
    t.match(ask(point, value), { key: 'outside limits', because: /takes values from 5 up to 80 Cel/ });
  }
  t.match(ask(pointOf(modbusSource('float32'), { min: 5 }), 4), { because: /takes values from 5$/ });
  t.same(ask(pointOf(modbusSource('uint64'), { max: 10 }), '10'), { allowed: true });
  t.match(ask(pointOf(modbusSource('uint64'), { max: 10 }), '11'), { key: 'outside limits' });
  t.end();
});

t.test('a text has to fit into its registers and to be told from their filling', (t) => {
  const point = pointOf(modbusSource('string'));

  for (const value of ['', 'ABCDEFGH', 'Grün', ' a']) t.same(ask(point, value), { allowed: true }, value);
  for (const value of ['ABCDEFGHI', 'Grünnnnn!', 'A\0B', 'A ', '\ud800']) {
    t.match(ask(point, value), { key: 'out of range' }, JSON.stringify(value));
  }
  t.end();
});

t.test('what an asker names cannot flood or colour a terminal', (t) => {
  const command = { id: '7f', device: `\u001b[31m${'x'.repeat(9_000)}`, point: 'p', value: 1, by: 'hmi' };

  const answer = decide({
    command,
    point: undefined,
    deviceKnown: false,
    retained: false,
    expires: undefined,
    now,
  });

  t.match(answer, { allowed: false, because: /^there is no device "\ufffd\[31mx+…"$/ });
  t.ok('because' in answer && answer.because.length < 100);
  t.end();
});

t.test('read back is compared as the wire holds it', (t) => {
  const same: readonly (readonly [PointConfig, written: PointValue, readBack: PointValue, boolean])[] = [
    [pointOf(modbusSource('bool')), true, true, true],
    [pointOf(modbusSource('bool')), true, false, false],
    [pointOf(modbusSource('bool')), true, 1, false],
    [pointOf(modbusSource('float32')), 21.3, 21.3, true],
    [pointOf(modbusSource('float32')), 21.3, Math.fround(21.3), true],
    [pointOf(modbusSource('float32')), 16_777_217, 16_777_216, true],
    [pointOf(modbusSource('float32')), 21.3, 21.300_002, false],
    [pointOf(modbusSource('float32')), 0, -0, true],
    [pointOf(modbusSource('float64')), 21.3, Math.fround(21.3), false],
    [
      pointOf(modbusSource('float32'), { scale: 0.001, offset: 273.15 }),
      300.123,
      Math.fround((300.123 - 273.15) / 0.001) * 0.001 + 273.15,
      true,
    ],
    [pointOf(modbusSource('float32'), { scale: 0.001, offset: 273.15 }), 300.123, 300.124, false],
    [pointOf(modbusSource('int16'), { scale: 0.1 }), 21.3, 213 * 0.1, true],
    [pointOf(modbusSource('int16'), { scale: 0.1 }), 21.3, 21.4, false],
    [pointOf(modbusSource('int32')), 16_777_217, 16_777_216, false],
    [pointOf(modbusSource('uint64')), '18446744073709551615', '18446744073709551615', true],
    [pointOf(modbusSource('uint64')), '18446744073709551615', '18446744073709551614', false],
    [pointOf(modbusSource('uint64')), 5, '5', true],
    [pointOf(modbusSource('uint64')), '0005', 5, true],
    [pointOf(modbusSource('string')), 'AB', 'AB\0\0  ', true],
    [pointOf(modbusSource('string')), 'AB', 'ABC', false],
    [pointOf(coapSource('number')), 21.3, Math.fround(21.3), true],
    [pointOf(coapSource('number')), 21.3, 21, false],
    [pointOf(coapSource('number')), 21.3, Number.NaN, false],
    [pointOf(coapSource('number')), 21.3, '21.3', false],
  ];
  for (const [point, written, readBack, expected] of same) {
    const { source, scale } = point;
    t.equal(
      sameOnWire(point, written, readBack),
      expected,
      `${JSON.stringify(source)} ×${scale}: ${written} ${readBack}`,
    );
  }
  t.end();
});
