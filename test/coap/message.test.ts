import { generate, parse } from 'coap-packet';
import * as fc from 'fast-check';
import t from 'tap';
import { BatchBuilder } from '../../src/core/batch.ts';
import { Exchange } from '../../src/drivers/coap/exchange.ts';
import { CON, decode, encode, GET, type Message, NON } from '../../src/drivers/coap/message.ts';
import { MessageIds } from '../../src/drivers/coap/message-ids.ts';
import {
  KNOWN_IN_REQUEST,
  KNOWN_IN_RESPONSE,
  pathOptions,
  understood,
} from '../../src/drivers/coap/options.ts';
import { PushServer } from '../../src/drivers/coap/push.ts';
import { plant } from './plant.ts';

const bytes = (hex: string): Buffer => Buffer.from(hex.replaceAll(' ', ''), 'hex');

t.test('the GET of RFC 7252, figure 16, has these bytes', async (t) => {
  // 5.3, Appendix A: CON GET /temperature, message ID 0x7d34, no token
  const wire = bytes('40 01 7d34 bb 74656d7065726174757265');

  const made = encode({
    type: CON,
    code: GET,
    id: 0x7d34,
    token: new Uint8Array(0),
    options: pathOptions('/temperature'),
    payload: new Uint8Array(0),
  });

  t.equal(made.toString('hex'), wire.toString('hex'));
  t.match(decode(wire), { kind: 'message', message: { type: CON, code: GET, id: 0x7d34 } });
});

t.test('what is malformed is reset where it is confirmable, and ignored otherwise', async (t) => {
  const wrong: readonly (readonly [string, string])[] = [
    ['a token that is cut off', '44 01 0001 aabb'],
    ['a token of nine bytes', '49 01 0001 aabbccddeeff001122'],
    ['a token length of 15', '4f 01 0001 aabbccddeeff00112233445566778899'],
    ['an option that is cut off', '40 01 0001 b5 7465'],
    ['an option length of 15', '40 01 0001 bf 00'],
    ['an option delta of 15', '40 01 0001 f1 00'],
    ['an extended length that is cut off', '40 01 0001 bd'],
    ['an extended delta that is cut off', '40 01 0001 e0 01'],
    ['a marker without payload', '40 01 0001 ff'],
    ['an option number above 65535', '40 01 0001 e0 ffff'],
    ['an empty message with a token', '41 00 0001 aa'],
    ['an empty message with a payload', '40 00 0001 ff 00'],
    ['class 1', '40 21 0001'],
    ['class 3', '40 60 0001'],
    ['class 6', '40 c0 0001'],
    ['class 7', '40 e1 0001'],
  ];
  for (const [what, hex] of wrong) {
    const confirmable = bytes(hex);
    t.same(decode(confirmable), { kind: 'reject', id: 1 }, what);
    for (const type of [1, 2, 3]) {
      const other = Buffer.from(confirmable);
      other[0] = ((other[0] ?? 0) & 0xcf) | (type << 4);
      t.same(decode(other), { kind: 'ignore' }, `${what}, type ${type}`);
    }
  }
});

t.test('another version, and what is shorter than a header, is ignored', async (t) => {
  for (const hex of ['', '40', '40 01', '40 01 00', '00 01 0001', '80 01 0001', 'c0 01 0001']) {
    t.same(decode(bytes(hex)), { kind: 'ignore' }, hex);
  }
});

const token = fc.uint8Array({ maxLength: 8 });
const option = fc.record({
  number: fc.integer({ min: 1, max: 65_535 }),
  value: fc.uint8Array({ maxLength: 600 }),
});
const message = fc.record({
  type: fc.constantFrom(CON, NON),
  code: fc.constantFrom(1, 2, 3, 4, 69, 132, 160),
  id: fc.integer({ min: 0, max: 65_535 }),
  token,
  options: fc.array(option, { maxLength: 6 }),
  payload: fc.uint8Array({ maxLength: 64 }),
});

t.test('another codec reads what we write, option by option', async (t) => {
  fc.assert(
    fc.property(message, (made) => {
      fc.pre(made.options.reduce((sum, { value }) => sum + value.length, 0) < 1_000);
      const theirs = parse(encode(made));

      const sorted = made.options.map(({ value }, at) => ({
        value,
        at,
        number: made.options[at]?.number ?? 0,
      }));
      sorted.sort((a, b) => a.number - b.number || a.at - b.at);
      t.equal(theirs.messageId, made.id);
      t.equal(theirs.confirmable, made.type === CON);
      t.equal(Buffer.compare(theirs.token, made.token), 0);
      t.equal(Buffer.compare(theirs.payload, made.payload), 0);
      t.same(
        theirs.options.map(({ value }) => value.toString('hex')),
        sorted.map(({ value }) => Buffer.from(value).toString('hex')),
      );
    }),
    { numRuns: 300 },
  );
});

t.test('we read what another codec writes, with the same bytes when written again', async (t) => {
  fc.assert(
    fc.property(message, (made) => {
      fc.pre(made.options.reduce((sum, { value }) => sum + value.length, 0) < 1_000);
      const theirs = generate({
        confirmable: made.type === CON,
        code: `${made.code >> 5}.${String(made.code & 31).padStart(2, '0')}`,
        messageId: made.id,
        token: Buffer.from(made.token),
        options: made.options.map(({ number, value }) => ({
          name: String(number),
          value: Buffer.from(value),
        })),
        payload: Buffer.from(made.payload),
      });

      const decoded = decode(theirs);
      if (decoded.kind !== 'message') throw new Error(decoded.kind);
      t.equal(encode(decoded.message).toString('hex'), theirs.toString('hex'));
    }),
    { numRuns: 300 },
  );
});

const withOptions = (...options: readonly (readonly [number, string])[]): Message => ({
  type: CON,
  code: GET,
  id: 1,
  token: new Uint8Array(0),
  options: options.map(([number, hex]) => ({ number, value: bytes(hex) })),
  payload: new Uint8Array(0),
});

t.test('a critical option that is unknown, of wrong length or repeated is named', async (t) => {
  t.match(understood(withOptions([9, '01']), KNOWN_IN_REQUEST), { ok: false, option: 9 });
  t.match(understood(withOptions([27, '00000000']), KNOWN_IN_REQUEST), { ok: false, option: 27 });
  t.match(understood(withOptions([7, '1633'], [7, '1633']), KNOWN_IN_REQUEST), { ok: false, option: 7 });
  t.match(understood(withOptions([1, 'aa']), KNOWN_IN_REQUEST), { ok: false, option: 1 });
  t.match(understood(withOptions([11, '61'], [11, '62']), KNOWN_IN_REQUEST), { ok: true });
});

t.test('an elective option of that kind vanishes, and an empty number is zero', async (t) => {
  const checked = understood(
    withOptions([6, ''], [6, '01'], [14, '0102030405'], [2048, 'aa']),
    KNOWN_IN_RESPONSE,
  );

  t.equal(checked.ok && checked.message.options.length, 1);
  t.equal(checked.ok && checked.message.options[0]?.number, 6);
  t.ok(understood(withOptions([27, '']), KNOWN_IN_RESPONSE).ok, 'Block1 of zero bytes is legal');
});

t.test('a message ID comes again after 247 s, not before', async (t) => {
  const ids = new MessageIds(65_500);
  const seen = new Set<number>();
  for (let id = ids.take(1_000); id !== undefined; id = ids.take(1_000)) {
    if (seen.has(id)) t.fail(`${id} twice`);
    seen.add(id);
  }
  t.ok(seen.size > 265 * 246, 'a group of 256 may be left out');
  t.equal(ids.take(247_999), undefined);
  t.equal(ids.freeAt, 248_000);
  t.type(ids.take(248_000), 'number');
});

t.test('400,000 random and mutated datagrams crash nothing and leave nothing behind', async (t) => {
  const { devices, points } = plant({
    name: 'd',
    port: 1,
    points: (['text', 'json', 'cbor', 'senml-json', 'senml-cbor'] as const).map((format) => ({
      name: format,
      mode: 'push',
      format,
    })),
  });
  const into = new BatchBuilder();
  const server = new PushServer({ devices, points, into, random: () => 0.5 });
  server.setAddresses(new Map([['d', '10.0.0.1']]));
  let seed = 20_261_126;
  const random = (): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return seed / 2 ** 32;
  };
  const tokens = [bytes('0102030405060708'), bytes('1112131415161718')];
  let made = 0;
  const client = new Exchange({ send: () => {}, random, token: () => tokens[made++ % 2] ?? bytes('00') });
  client.listen(bytes('2122232425262728'), () => {});
  const good = [
    encode({ type: CON, code: 2, id: 7, token: bytes('01'), options: pathOptions('/d/text'), payload: bytes('312e35') }),
    encode({ type: CON, code: 3, id: 8, token: bytes('01'), options: pathOptions('/d/cbor'), payload: bytes('a1616101') }),
    encode({ type: NON, code: 2, id: 8, token: bytes('01'), options: [...pathOptions('/d/senml-json'), { number: 27, value: bytes('08') }], payload: Buffer.from('[{"n":"senml-j"}') }),
    encode({ type: CON, code: 69, id: 9, token: bytes('0102030405060708'), options: [{ number: 6, value: bytes('05') }], payload: bytes('35') }),
    encode({ type: NON, code: 69, id: 9, token: bytes('2122232425262728'), options: [{ number: 23, value: bytes('0e') }], payload: bytes('35') }),
    bytes('60 45 0001'),
    bytes('70 00 0001'),
  ]; // biome-ignore format: one datagram a line
  let now = 0;
  let settled = 0;
  let asked = 0;
  for (let i = 0; i < 400_000; i++) {
    now += 10;
    if (client.size < 2) {
      asked += 1;
      client.request({ code: GET, options: [], limit: 5_000 }, now, () => (settled += 1));
    }
    let datagram: Buffer;
    if (i % 2 === 0) {
      datagram = Buffer.allocUnsafe(Math.floor(random() * 40));
      for (let at = 0; at < datagram.length; at++) datagram[at] = random() * 256;
      if (datagram.length > 0) datagram[0] = ((datagram[0] ?? 0) & 0x3f) | 0x40;
    } else {
      datagram = Buffer.from(good[Math.floor(random() * good.length)] ?? good[0] ?? '');
      for (let n = random() * 3; n > 0; n--)
        datagram[Math.floor(random() * datagram.length)] = random() * 256;
    }
    client.receive(datagram, now);
    if (i % 64 === 0) client.tick(now);
    server.receive(datagram, { address: '10.0.0.1', port: 5_683 }, now, 0);
    if (i % 10_000 === 0) into.take();
  }
  now += 300_000;
  client.tick(now);
  client.unlisten(bytes('2122232425262728'));
  server.expire(now);
  t.equal(settled, asked, 'every request settled once');
  t.equal(client.remembered, 0);
  t.equal(server.remembered, 0);
});
