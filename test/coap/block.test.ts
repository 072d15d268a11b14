import * as fc from 'fast-check';
import t from 'tap';
import { BodyReader, MAX_BODY } from '../../src/drivers/coap/block.ts';
import { code, CON, type CoapOption, type Message, POST } from '../../src/drivers/coap/message.ts';
import type { Peer } from '../../src/drivers/coap/transport.ts';
import { MAX_UPLOAD, Uploads } from '../../src/drivers/coap/upload.ts';
import { generator } from './network.ts';

const option = (number: number, hex: string): CoapOption => ({ number, value: Buffer.from(hex, 'hex') });
const message = (coded: string, options: readonly CoapOption[], payload = '', token = '01'): Message => ({
  type: CON,
  code: code(coded),
  id: 1,
  token: Buffer.from(token, 'hex'),
  options,
  payload: Buffer.from(payload),
});
const ETAG = 4;
const BLOCK2 = 23;
const BLOCK1 = 27;
/** NUM, M, SZX in up to three bytes, RFC 7959, 2.2. */
const block = (number: number, num: number, more: boolean, szx: number): CoapOption => {
  const value = (num << 4) | (more ? 8 : 0) | szx;
  return option(
    number,
    value === 0 ? '' : value.toString(16).padStart(value > 255 ? (value > 65_535 ? 6 : 4) : 2, '0'),
  );
};
const part = (num: number, more: boolean, text: string, etag = 'aa', szx = 0): Message =>
  message('2.05', [option(ETAG, etag), block(BLOCK2, num, more, szx)], text);
const A = 'a'.repeat(16);
const B = 'b'.repeat(16);

t.test('blocks make a body, and each question names the next', async (t) => {
  const reader = new BodyReader();
  t.same(reader.accept(part(0, true, A)), { kind: 'ask', options: [option(BLOCK2, '10')] });
  t.same(reader.accept(part(1, true, B)), { kind: 'ask', options: [option(BLOCK2, '20')] });
  const done = reader.accept(part(2, false, 'c'));
  t.equal(done.kind === 'done' && Buffer.from(done.body.payload).toString(), `${A}${B}c`);
});

t.test('a server may make blocks smaller, and the number is counted anew', async (t) => {
  const reader = new BodyReader();
  t.same(reader.accept(part(0, true, 'x'.repeat(64), 'aa', 2)), {
    kind: 'ask',
    options: [option(BLOCK2, '12')],
  });
  t.same(
    reader.accept(part(4, true, A)),
    { kind: 'ask', options: [option(BLOCK2, '50')] },
    'byte 64 in blocks of 16',
  );
  t.equal(reader.accept(part(5, false, 'end')).kind, 'done');
});

t.test('another ETag starts the body again, at most three times', async (t) => {
  const reader = new BodyReader();
  reader.accept(part(0, true, A, '01'));
  t.same(reader.accept(part(1, false, B, '02')), { kind: 'ask', options: [] });
  reader.accept(part(0, true, B, '02'));
  const done = reader.accept(part(1, false, 'z', '02'));
  t.equal(
    done.kind === 'done' && Buffer.from(done.body.payload).toString(),
    `${B}z`,
    'nothing of the old body',
  );

  const restless = new BodyReader();
  const kinds: string[] = [];
  for (let i = 0; i < 5; i++) {
    restless.accept(part(0, true, A, `0${i}`));
    kinds.push(restless.accept(part(1, true, A, `1${i}`)).kind);
  }
  t.same(kinds.slice(0, 4), ['ask', 'ask', 'ask', 'wrong']);
});

t.test('a block larger than it was asked for is wrong, also at a place that would fit', async (t) => {
  const reader = new BodyReader();
  reader.accept(part(0, true, A));
  reader.accept(part(1, true, B));
  t.equal(reader.accept(part(1, false, 'x'.repeat(20), 'aa', 1)).kind, 'wrong');
});

t.test('whatever a server does between blocks, no body is mixed', async (t) => {
  let whole = 0;
  fc.assert(
    fc.property(fc.integer(), fc.integer({ min: 1, max: 400 }), (seed, length) => {
      const random = generator(seed);
      const reader = new BodyReader();
      let version = 0;
      let szx = Math.floor(random() * 3);
      let offset = 0;
      for (let steps = 0; steps < 500; steps++) {
        if (random() < 0.05) version += 1;
        if (random() < 0.1 && szx > 0) szx -= 1;
        if (random() < 0.02) offset = Math.floor(random() * length);
        const size = 16 << szx;
        const num = Math.floor(offset / size);
        const letter = String.fromCharCode(97 + (version % 26));
        const text = letter.repeat(length).slice(num * size, num * size + size);
        const etag = (version + 1).toString(16).padStart(4, '0');
        const step = reader.accept(part(num, (num + 1) * size < length, text, etag, szx));
        if (step.kind === 'done') {
          whole += 1;
          const body = Buffer.from(step.body.payload).toString();
          if (body !== (body[0] ?? '').repeat(length)) throw new Error(`mixed: ${body}`);
          return;
        }
        if (step.kind !== 'ask') return;
        const asked = Buffer.from(step.options[0]?.value ?? []);
        const value = asked.length === 0 ? 0 : asked.readUIntBE(0, asked.length);
        offset = (value >> 4) * (16 << (value & 7));
      }
    }),
    { numRuns: 2_000 },
  );
  t.ok(whole > 500, `${whole} whole bodies`);
});

t.test('a server that sends the first block for ever is left', async (t) => {
  const reader = new BodyReader();
  let steps = 0;
  while (reader.accept(part(0, true, A)).kind === 'ask') steps += 1;
  t.equal(steps, 4);
});

t.test('an endless body ends at the limit', async (t) => {
  const reader = new BodyReader();
  let num = 0;
  while (reader.accept(part(num, true, 'x'.repeat(1_024), 'aa', 6)).kind === 'ask') num += 1;
  t.equal(num * 1_024, MAX_BODY);
  t.equal(
    new BodyReader().accept(message('2.05', [option(28, '7fffffff')], '1')).kind,
    'wrong',
    'Size2 says so at once',
  );
});

t.test('the reserved block size is wrong, whatever the payload', async (t) => {
  t.equal(new BodyReader().accept(part(0, false, A, 'aa', 7)).kind, 'wrong');
  t.equal(new BodyReader().accept(part(0, true, A.repeat(128), 'aa', 7)).kind, 'wrong');
});

t.test('what is no block of this body is wrong, not a piece of it', async (t) => {
  const wrongs: readonly (readonly [string, Message])[] = [
    ['a reserved size', part(1, true, A, 'aa', 7)],
    ['a short block with more to come', part(1, true, 'short')],
    ['a long last block', part(1, false, `${A}x`)],
    ['a block too far', part(2, true, A)],
    ['the block before', part(0, true, 'x'.repeat(15))],
    ['a larger block than before', part(1, true, 'x'.repeat(32), 'aa', 1)],
    ['no Block2 at all', message('2.05', [option(ETAG, 'aa')], 'rest')],
    ['2.04', message('2.04', [], '')],
  ];
  for (const [what, next] of wrongs) {
    const reader = new BodyReader();
    reader.accept(part(0, true, A));
    t.equal(reader.accept(next).kind, 'wrong', what);
  }
  t.match(new BodyReader().accept(message('4.04', [])), { kind: 'refused', code: code('4.04') });
});

const up = (
  num: number,
  more: boolean,
  text: string,
  options: readonly CoapOption[] = [],
  token = '01',
): Message => ({
  ...message('0.02', [option(11, '61'), block(BLOCK1, num, more, 0), ...options], text, token),
  code: POST,
});

const P: Peer = { address: '10.0.0.1', port: 40_000 };
const Q: Peer = { address: '10.0.0.2', port: 40_000 };

t.test('an upload is put together whatever its tokens, and is forgotten when whole', async (t) => {
  const uploads = new Uploads();
  t.match(uploads.accept(up(0, true, A, [], '01'), P, 0), {
    code: code('2.31'),
    options: [{ number: BLOCK1 }],
  });
  t.match(uploads.accept(up(1, true, B, [], '02'), P, 0), { code: code('2.31') });
  const whole = uploads.accept(up(2, false, 'c', [], '03'), P, 0);
  t.equal(whole.kind === 'whole' && Buffer.from(whole.payload).toString(), `${A}${B}c`);
  t.equal(uploads.size, 0);
});

t.test(
  'out of order is 4.08, too large 4.13 with Size1, a bad block 4.00; a new first block begins anew',
  async (t) => {
    const uploads = new Uploads();
    t.match(uploads.accept(up(1, true, A), P, 0), { code: code('4.08') });
    uploads.accept(up(0, true, A), P, 0);
    t.match(uploads.accept(up(2, true, A), P, 0), { code: code('4.08') });
    t.match(uploads.accept(up(1, true, 'short'), P, 0), { code: code('4.00') });
    uploads.accept(up(0, true, B), P, 0);
    const whole = uploads.accept(up(1, false, 'x'), P, 0);
    t.equal(whole.kind === 'whole' && Buffer.from(whole.payload).toString(), `${B}x`);
    t.match(uploads.accept(up(0, true, A, [option(60, '00ffffff')]), P, 0), {
      code: code('4.13'),
      options: [{ number: 60 }],
    });
    let num = 0;
    while (uploads.accept(up(num, true, A), P, 0).kind === 'answer' && num * 16 < MAX_UPLOAD) num += 1;
    t.match(
      uploads.accept(up(num, true, A), P, 0),
      { code: code('4.08') },
      'what was too large is forgotten',
    );
    t.equal(uploads.size, 0);
  },
);

t.test('uploads of two senders, and of two Request-Tags, are two bodies', async (t) => {
  const uploads = new Uploads();
  uploads.accept(up(0, true, A), P, 0);
  uploads.accept(up(0, true, B), Q, 0);
  uploads.accept(up(0, true, 'c'.repeat(16), [option(292, '01')]), P, 0);
  const of = (sender: Peer, ...options: CoapOption[]) => {
    const whole = uploads.accept(up(1, false, '!', options), sender, 0);
    return whole.kind === 'whole' ? Buffer.from(whole.payload).toString() : whole.kind;
  };
  t.equal(of(P, option(292, '01')), `${'c'.repeat(16)}!`);
  t.equal(of(Q), `${B}!`);
  t.equal(of(P), `${A}!`);
});

t.test('a device with many ports pushes out no body of another device', async (t) => {
  const uploads = new Uploads();
  uploads.accept(up(0, true, A), Q, 0);
  for (let port = 1; port <= 1_000; port++) uploads.accept(up(0, true, B), { ...P, port }, 0);

  t.equal(uploads.size, 5, 'four of the one, one of the other');
  t.equal(uploads.accept(up(1, false, '!'), Q, 0).kind, 'whole');
});

t.test('a thousand half bodies are bounded in number and in time', async (t) => {
  const uploads = new Uploads();
  for (let i = 0; i < 1_000; i++)
    uploads.accept(
      up(0, true, A, [option(292, i.toString(16).padStart(4, '0'))]),
      { address: `10.0.0.${i % 50}`, port: 1 },
      i,
    );
  t.ok(uploads.size <= 64, `${uploads.size} unfinished`);
  t.ok(uploads.abandoned >= 900);
  uploads.expire(1_000 + 247_000);
  t.equal(uploads.size, 0);
});
