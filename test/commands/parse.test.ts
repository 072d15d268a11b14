import * as fc from 'fast-check';
import t from 'tap';
import { MAX_PAYLOAD, parseCommand } from '../../src/commands/parse.ts';

const bytes = (text: string) => new TextEncoder().encode(text);
const parse = (text: string) => parseCommand(bytes(text));

t.test('a command has an id and a value', (t) => {
  t.same(parse('{"id":"7f","value":true}'), {
    ok: true,
    wish: { id: '7f', value: true, expires: undefined },
  });
  t.match(parse(' {\n"value" : -1.5e2, "id":"x"} '), { ok: true, wish: { id: 'x', value: -150 } });
  t.match(parse('{"id":"x","value":""}'), { ok: true, wish: { value: '' } });
  t.match(parse('{"id":"x","value":"\\"value\\": 1, \\\\"}'), {
    ok: true,
    wish: { value: '"value": 1, \\' },
  });
  t.end();
});

t.test('it may expire, in milliseconds or as a moment with an offset', (t) => {
  const expires = Date.UTC(2026, 0, 2, 3, 4, 5);

  t.match(parse(`{"id":"x","value":1,"expires":${expires}}`), { ok: true, wish: { expires } });
  t.match(parse('{"id":"x","value":1,"expires":"2026-01-02T03:04:05Z"}'), { ok: true, wish: { expires } });
  t.match(parse('{"id":"x","value":1,"expires":"2026-01-02T04:04:05.000+01:00"}'), {
    ok: true,
    wish: { expires },
  });
  for (const wrong of [
    'null',
    'true',
    '-1',
    '1.5',
    '1e300',
    '""',
    '"tomorrow"',
    '"2026-01-02"',
    '"2026-01-02T03:04:05"',
    '"2026-13-02T03:04:05Z"',
  ]) {
    t.match(
      parse(`{"id":"x","value":1,"expires":${wrong}}`),
      { ok: false, id: 'x', refusal: { key: 'malformed', because: /expires/ } },
      wrong,
    );
  }
  t.end();
});

t.test('whatever else is refused, with the id where one could be read', (t) => {
  const wrong: readonly (readonly [text: string, id: string, because: RegExp])[] = [
    ['', '', /not JSON/],
    ['true', '', /not a JSON object/],
    ['null', '', /not a JSON object/],
    ['["x",1]', '', /not a JSON object/],
    ["{'id':'x','value':1}", '', /not JSON/],
    ['{"id":"x","value":1,}', '', /not JSON/],
    ['{"id":"x","value":NaN}', '', /not JSON/],
    ['{"id":"x","value":1} x', '', /not JSON/],
    ['\ufeff{"id":"x"', '', /not JSON/],
    ['{"value":1}', '', /"id" must be/],
    ['{"id":"","value":1}', '', /"id" must be/],
    ['{"id":7,"value":1}', '', /"id" must be/],
    [`{"id":"${'x'.repeat(65)}","value":1}`, '', /"id" must be/],
    ['{"id":"a\\u0007","value":1}', '', /"id" must be/],
    ['{"id":"x"}', 'x', /"value" must be/],
    ['{"id":"x","value":null}', 'x', /"value" must be/],
    ['{"id":"x","value":[1]}', 'x', /"value" must be/],
    ['{"id":"x","value":{"value":1}}', 'x', /twice|"value" must be/],
    ['{"id":"x","value":1e999}', 'x', /beyond/],
    ['{"id":"x","value":1,"value":2}', 'x', /twice/],
    ['{"id":"x","value":1,"val\\u0075e":2}', 'x', /twice/],
    ['{"id":"x","value":1,"id":"x"}', 'x', /twice/],
    ['{"id":"x","value":1,"Expires":1}', 'x', /"Expires" is unknown/],
    ['{"id":"x","value":1,"__proto__":{"expires":1}}', 'x', /"__proto__" is unknown/],
  ];
  for (const [text, id, because] of wrong) {
    t.match(parse(text), { ok: false, id, refusal: { allowed: false, key: 'malformed', because } }, text);
  }
  t.end();
});

t.test('bytes that are no UTF-8 are refused', (t) => {
  const payload = bytes('{"id":"x","value":"?"}');
  payload[payload.indexOf(0x3f)] = 0xff;

  t.match(parseCommand(payload), { ok: false, refusal: { key: 'malformed' } });
  t.end();
});

t.test('the size is bounded before anything is read', (t) => {
  const most = `{"id":"x","value":"${'y'.repeat(MAX_PAYLOAD - 21)}"}`;

  t.equal(bytes(most).length, MAX_PAYLOAD);
  t.match(parse(most), { ok: true });
  t.match(parse(`${most} `), { ok: false, id: '', refusal: { key: 'too large' } });
  t.match(parseCommand(new Uint8Array(10_000_000)), { ok: false, refusal: { key: 'too large' } });
  t.end();
});

t.test('no payload makes it throw, and what is accepted has the declared form', (t) => {
  const text = fc.oneof(
    fc.json(),
    fc.string({ unit: 'binary' }),
    fc.record({ id: fc.string(), value: fc.anything() }).map((value) => JSON.stringify(value)),
    fc.stringMatching(/^\{"id":"[a-z"\\]{0,5}","value":[0-9.eE+"\\truefals-]{0,8}\}$/),
  );
  const payload = fc.oneof(text.map(bytes), fc.uint8Array());

  fc.assert(
    fc.property(payload, (bytes) => {
      const parsed = parseCommand(bytes);
      if (!parsed.ok) return parsed.refusal.because.length > 0 && parsed.refusal.because.length < 200;
      const { id, value } = parsed.wish;
      return id.length >= 1 && id.length <= 64 && (typeof value !== 'number' || Number.isFinite(value));
    }),
    { numRuns: 2_000 },
  );
  t.end();
});
