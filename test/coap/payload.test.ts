import * as fc from 'fast-check';
import t from 'tap';
import { REASONS } from '../../src/core/quality.ts';
import { at, type Format, open, type Reading, readings } from '../../src/drivers/coap/payload.ts';
import type { Place } from '../../src/drivers/coap/typed-value.ts';
import { payloadOf } from '../../src/drivers/coap/write-payload.ts';

const NOW = 1_795_516_800_000;
const place = (wish: Partial<Place> = {}): Place => ({
  pointer: undefined,
  record: undefined,
  type: 'number',
  scale: 1,
  offset: 0,
  ...wish,
});
const told = (reading: Reading | undefined): unknown =>
  reading?.ok === true ? reading.value : REASONS[reading?.reason ?? 0];
const text = (payload: string, wish: Partial<Place> = {}): unknown =>
  told(readings(open('text', Buffer.from(payload), NOW), place(wish))[0]);
const json = (payload: string, wish: Partial<Place> = {}): unknown =>
  told(readings(open('json', Buffer.from(payload), NOW), place(wish))[0]);
const fromCbor = (hex: string, wish: Partial<Place> = {}): unknown =>
  told(readings(open('cbor', Buffer.from(hex, 'hex'), NOW), place(wish))[0]);

t.test('text is a number, a switch or itself, and nothing else', async (t) => {
  t.equal(text(' 21.5\n'), 21.5);
  t.equal(text('-4e-3'), -0.004);
  t.equal(text('18446744073709551615'), '18446744073709551615', 'digits beyond 2^53 are kept');
  t.equal(text('NaN'), 'not a number');
  t.equal(text('-inf'), 'not a number');
  t.equal(text('1e999'), 'not a number');
  for (const wrong of ['', ' ', '21,5', '0x10', '12 C', '1_000', '--1', '.', 'e5', '1e']) {
    t.equal(text(wrong), 'bad encoding', JSON.stringify(wrong));
  }
  t.equal(text('ON', { type: 'bool' }), true);
  t.equal(text('0', { type: 'bool' }), false);
  t.equal(text('2', { type: 'bool' }), 'bad encoding');
  t.equal(text(' as it is ', { type: 'string' }), ' as it is ');
  t.equal(
    told(readings(open('text', Buffer.from([0xc3, 0x28]), NOW), place({ type: 'string' }))[0]),
    'bad encoding',
  );
});

t.test('the pointer examples of RFC 6901, section 5, hold', async (t) => {
  const document: unknown = JSON.parse(
    '{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\\\j":5,"k\\"l":6," ":7,"m~n":8}',
  );
  t.equal(at(document, ''), document);
  t.same(at(document, '/foo'), ['bar', 'baz']);
  for (const [pointer, value] of [
    ['/foo/0', 'bar'], ['/', 0], ['/a~1b', 1], ['/c%d', 2], ['/e^f', 3], ['/g|h', 4], ['/i\\j', 5], ['/k"l', 6],
    ['/ ', 7], ['/m~0n', 8], ['/foo/2', undefined], ['/foo/-', undefined], ['/foo/00', undefined], ['/x', undefined],
    ['foo', undefined], ['/__proto__', undefined], ['/foo/length', undefined], ['/constructor', undefined],
  ] as const) t.equal(at(document, pointer), value, pointer); // biome-ignore format: a table
});

t.test('JSON gives the value at the pointer, typed and scaled', async (t) => {
  t.equal(json('{"t":{"c":[20.5,21]}}', { pointer: '/t/c/1' }), 21);
  t.equal(json('{"t":215}', { pointer: '/t', scale: 0.1, offset: -40 }), -18.5);
  t.equal(json('3', { scale: 0.1 }), 0.3, 'and not 0.30000000000000004');
  t.equal(json('21.37', { scale: 0.1 }), 2.137);
  t.equal(json('"\\ud83d"', { type: 'string' }), 'bad encoding', 'half a character');
  t.equal(json('"\\ud83d\\ude00"', { type: 'string' }), '\u{1f600}');
  t.equal(json('{"t":null}', { pointer: '/t' }), 'no such value');
  t.equal(json('{"t":1}', { pointer: '/u' }), 'no such value');
  t.equal(json('{"t":"1"}', { pointer: '/t' }), 'out of range', 'a text is no number');
  t.equal(json('true'), 'out of range');
  t.equal(json('true', { type: 'bool' }), true);
  t.equal(json('1', { type: 'bool' }), true);
  t.equal(json('{"n":9007199254740993}', { pointer: '/n' }), '9007199254740993');
  t.equal(json('{"n":9007199254740993,"m":2.5}', { pointer: '/m' }), 2.5);
  t.equal(json('{"t":1'), 'bad encoding');
  t.equal(json(`${'['.repeat(40_000)}${']'.repeat(40_000)}`), 'bad encoding');
  t.equal(json('1e308', { scale: 10 }), 'out of range');
});

t.test('CBOR vectors of RFC 8949, appendix A, arrive as they are', async (t) => {
  for (const [hex, value] of [
    ['00', 0], ['1903e8', 1_000], ['1bffffffffffffffff', '18446744073709551615'], ['3903e7', -1_000],
    ['f93c00', 1], ['fa47c35000', 100_000], ['fb3ff199999999999a', 1.1], ['f97c00', 'not a number'],
    ['f97e00', 'not a number'], ['c249010000000000000000', '18446744073709551616'],
    ['c349010000000000000000', '-18446744073709551617'], ['f5', 'out of range'], ['f6', 'no such value'],
    ['6161', 'out of range'], ['4401020304', 'out of range'], ['c48221196ab3', 273.15],
  ] as const) t.equal(fromCbor(hex), value, hex); // biome-ignore format: a table
  t.equal(fromCbor('a26161016162820203', { pointer: '/b/1' }), 3);
  t.equal(fromCbor('a201020304', { pointer: '/3' }), 4, 'a numeric key');
  t.equal(fromCbor('bf61610fff', { pointer: '/a' }), 15, 'an open-ended map');
  t.equal(fromCbor('d9d9f705'), 5, 'self-described');
});

t.test('CBOR that is broken, doubled, too deep or too large gives no value', async (t) => {
  for (const hex of [
    '',
    '18',
    '62ff',
    'a201020103',
    `${'81'.repeat(20)}01`,
    '0102',
    '9b7fffffffffffffff',
    'ff',
    '1c',
  ]) {
    t.equal(fromCbor(hex), 'bad encoding', hex);
  }
});

const PACK = `[
  {"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":5,"n":"voltage","u":"V","v":120.1},
  {"n":"current","t":-5,"v":1.2},{"n":"current","t":-4,"v":1.3},{"n":"current","t":-3,"v":1.4},
  {"n":"current","t":-2,"v":1.5},{"n":"current","t":-1,"v":1.6},{"n":"current","v":1.7}]`;
/** RFC 8428, section 6: the same pack in CBOR. */
const CBOR_PACK =
  '87a721781b75726e3a6465763a6f773a3130653230373361303130383030363a22fb41d303a15b00106223614120050067766f6c7461' +
  '676501615602fb405e066666666666a3006763757272656e74062402fb3ff3333333333333a3006763757272656e74062302fb3ff4cc' +
  'cccccccccda3006763757272656e74062202fb3ff6666666666666a3006763757272656e74062102f93e00a3006763757272656e7406' +
  '2002fb3ff999999999999aa3006763757272656e74060002fb3ffb333333333333';

t.test('the pack of RFC 8428, 5.1.2, and its CBOR of section 6, say the same', async (t) => {
  for (const content of [
    open('senml-json', Buffer.from(PACK), NOW),
    open('senml-cbor', Buffer.from(CBOR_PACK, 'hex'), NOW),
  ]) {
    const current = readings(content, place({ record: 'urn:dev:ow:10e2073a0108006:current' }));
    const [voltage] = readings(content, place({ record: 'urn:dev:ow:10e2073a0108006:voltage' }));
    t.same(current.map(told), [1.2, 1.3, 1.4, 1.5, 1.6, 1.7]);
    t.same(
      current.map(({ time }) => time),
      [71_001, 72_001, 73_001, 74_001, 75_001, 76_001].map((ms) => 1_276_020_000_000 + ms),
    );
    t.match(voltage, { value: 120.1, unit: 'V', time: 1_276_020_076_001 });
    t.match(current[0], { unit: 'A' });
    t.equal(told(readings(content, place())[0]), 'no such value', 'two names, none chosen');
    t.equal(
      told(readings(content, place({ record: 'current' }))[0]),
      'no such value',
      'the resolved name counts',
    );
  }
});

const senml = (pack: string, wish: Partial<Place> = {}): readonly Reading[] =>
  readings(open('senml-json', Buffer.from(pack), NOW), place(wish));

t.test(
  'a single record without time is now; below 2^28 s a time is relative, from there on absolute',
  async (t) => {
    t.match(senml('[{"n":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}]')[0], {
      value: 23.1,
      unit: 'Cel',
      time: undefined,
    });
    t.match(senml('[{"n":"a","t":-10,"v":1}]')[0], { time: NOW - 10_000 });
    t.match(senml('[{"n":"a","t":268435455,"v":1}]')[0], { time: NOW + 268_435_455_000 });
    t.match(senml('[{"n":"a","t":268435456,"v":1}]')[0], { time: 268_435_456_000 });
    t.match(senml('[{"n":"a","bt":268435450,"t":6,"v":1}]')[0], { time: 268_435_456_000 }, 'the sum decides');
  },
);

t.test('base fields hold until replaced: values and sums add, the unit is a default', async (t) => {
  const pack =
    '[{"bn":"d/","bv":100,"bs":5,"bu":"W","n":"a","v":1},{"n":"b","v":2,"u":"kW"},{"bv":-1,"n":"c","v":3},{"n":"s","s":2}]';
  t.equal(told(senml(pack, { record: 'd/a' })[0]), 101);
  t.match(senml(pack, { record: 'd/b' })[0], { value: 102, unit: 'kW' });
  t.equal(told(senml(pack, { record: 'd/c' })[0]), 2);
  t.equal(told(senml(pack, { record: 'd/s' })[0]), 7, 'a record that carries a sum alone');
  t.equal(told(senml('[{"n":"e","v":9007199254740993}]')[0]), '9007199254740993');
});

t.test('switches, texts and data keep their kind', async (t) => {
  t.equal(told(senml('[{"n":"a","vb":true}]', { type: 'bool' })[0]), true);
  t.equal(told(senml('[{"n":"a","vs":"open"}]', { type: 'string' })[0]), 'open');
  t.equal(told(senml('[{"n":"a","vd":"aGkgCg"}]', { type: 'string' })[0]), 'aGkgCg');
  t.equal(told(senml('[{"n":"a","vs":"1"}]')[0]), 'out of range');
  const data = Buffer.from('81a200616108446869200a', 'hex');
  t.equal(told(readings(open('senml-cbor', data, NOW), place({ type: 'string' }))[0]), 'aGkgCg');
  const fraction = Buffer.from('81a200616102c48221196ab3', 'hex');
  t.equal(told(readings(open('senml-cbor', fraction, NOW), place())[0]), 273.15);
});

t.test('a pack that must not be understood by halves is refused whole', async (t) => {
  for (const pack of [
    '{}', '[]', '[1]', '[[]]', '[{"n":"a"}]', '[{"n":"a","v":1,"vs":"x"}]', '[{"v":1}]', '[{"n":"","v":1}]',
    '[{"n":"/a","v":1}]', '[{"n":"a b","v":1}]', '[{"n":"a","v":"1"}]', '[{"n":"a","v":1,"must_":1}]',
    '[{"n":"a","v":1,"bver":11}]', '[{"n":"a","v":1,"t":"now"}]', '[{"n":"a","vb":1}]', '[{"n":"a","v":1,"t":1e12}]',
    '[{"n":"a","v":1},{"n":"b","v":1,"x_":0}]', '[{"n":"a","v":null}]', '[{"n":1,"v":1}]',
  ]) t.equal(told(senml(pack, { record: 'a' })[0]), 'bad encoding', pack); // biome-ignore format: a list
  t.equal(told(senml('[{"n":"a","v":1,"other":{"x":[]}}]')[0]), 1, 'other labels are ignored');
});

t.test('no bytes crash a decoder, and whatever comes out is a finite number, a switch or text', async (t) => {
  const formats = ['text', 'json', 'cbor', 'senml-json', 'senml-cbor'] as const;
  const places = (['number', 'bool', 'string'] as const).map((type) => place({ type, pointer: '/a/0' }));
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array({ maxLength: 64 }),
        fc.json().map((made) => Buffer.from(made)),
      ),
      (payload) => {
        for (const format of formats) {
          const content = open(format, payload, NOW);
          for (const one of places) {
            for (const reading of readings(content, one)) {
              if (reading.ok && typeof reading.value === 'number' && !Number.isFinite(reading.value))
                throw new Error('not finite');
            }
          }
        }
      },
    ),
    { numRuns: 3_000 },
  );
  t.pass();
});

function written(
  format: Parameters<typeof payloadOf>[0],
  value: number | boolean | string,
  wish: Partial<Place> = {},
): Buffer | undefined {
  const payload = payloadOf(format, place(wish), value);
  return payload === undefined ? undefined : Buffer.from(payload);
}

t.test('what is written has the bytes that the format wants', async (t) => {
  t.equal(written('text', 0.3, { scale: 0.1 })?.toString(), '3', 'no digits of binary fractions');
  t.equal(written('text', true, { type: 'bool' })?.toString(), '1');
  t.equal(written('json', 21.5, { pointer: '/set/point~1a' })?.toString(), '{"set":{"point/a":21.5}}');
  t.equal(written('json', 'on', { type: 'string' })?.toString(), '"on"');
  t.equal(written('cbor', 10, { pointer: '/a' })?.toString('hex'), 'a161610a');
  t.equal(
    written('senml-json', false, { type: 'bool', record: 'valve' })?.toString(),
    '[{"n":"valve","vb":false}]',
  );
  t.equal(written('senml-cbor', 10, { record: 'a' })?.toString('hex'), '81a2006161020a');
  t.equal(written('text', 'x'), undefined, 'a text for a number');
  t.equal(written('text', '\ud83d', { type: 'string' }), undefined, 'half a character');
  t.equal(written('text', 1, { type: 'bool' }), undefined);
  t.equal(written('text', Number.NaN), undefined);
});

const nearly = (start: string, again: string, end: string): string =>
  `${start}${again.repeat(60_000 / again.length)}${end}`;

t.test('no text makes a decoder go back and try again', async (t) => {
  const hostile: readonly (readonly [Format, string])[] = [
    ['text', nearly('', '1', 'x')],
    ['text', nearly('1.', '1', 'x')],
    ['text', nearly('', ' ', 'x')],
    ['json', nearly('"', 'a\\"', '')],
    ['json', nearly('', '"\\"', '')],
    ['json', nearly('', '[', '')],
    ['senml-json', nearly('"', '\\\\\\"', '')],
  ];
  const before = process.cpuUsage();
  for (let round = 0; round < 10; round++) {
    for (const [format, text] of hostile) {
      const [reading] = readings(open(format, Buffer.from(text), 0), place());
      t.equal(reading?.ok, false);
    }
  }
  // Some 30 ms; minutes where the work grows with the square of the length.
  t.ok(process.cpuUsage(before).user < 10e6);
});
