import * as fc from 'fast-check';
import t from 'tap';
import { mbapFrame, MbapFramer } from '../../src/drivers/modbus/framing.ts';
import { viewOf } from '../../src/drivers/modbus/pdu.ts';

interface Frame {
  readonly id: number;
  readonly body: readonly number[];
}

/** Feeds the stream in pieces; each piece lies in a buffer that is overwritten afterwards, as a socket's is. */
function cut(stream: Uint8Array, sizes: readonly number[]): { frames: Frame[]; whole: boolean } {
  const framer = new MbapFramer();
  const frames: Frame[] = [];
  const sink = {
    frame: (id: number, view: DataView, start: number, end: number) => {
      frames.push({ id, body: [...new Uint8Array(view.buffer, view.byteOffset + start, end - start)] });
    },
  };
  const buffer = new Uint8Array(4096);
  let whole = true;
  for (let at = 0, piece = 0; at < stream.length; piece++) {
    const size = Math.min(sizes[piece % sizes.length] ?? 1, stream.length - at, buffer.length);
    buffer.fill(0xee);
    buffer.set(stream.subarray(at, at + size));
    whole = framer.push(viewOf(buffer), size, sink);
    at += size;
  }
  return { frames, whole };
}

const frame = fc.record({
  id: fc.nat(65_535),
  body: fc.array(fc.nat(255), { minLength: 3, maxLength: 254 }),
});
const frames = fc.array(frame, { maxLength: 20 });
const pieces = fc.array(fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 4000 })), {
  minLength: 1,
  maxLength: 30,
});
// Messaging Guide V1.0b, 3.1.3
const bytesOf = ({ id, body }: Frame) => [id >> 8, id & 255, 0, 0, 0, body.length, ...body];

t.test('frames come out as they went in, however the stream is cut', async () => {
  fc.assert(
    fc.property(frames, pieces, (sent, sizes) => {
      const got = cut(Uint8Array.from(sent.flatMap(bytesOf)), sizes);
      return got.whole && JSON.stringify(got.frames) === JSON.stringify(sent);
    }),
    { numRuns: 1000 },
  );
});

t.test('a bad header ends the stream: frames before it count, nothing after it does', async () => {
  const bad = fc.oneof(
    fc.integer({ min: 1, max: 65_535 }).map((protocol) => [0, 1, protocol >> 8, protocol & 255, 0, 6]),
    fc.oneof(fc.nat(2), fc.integer({ min: 255, max: 65_535 })).map((n) => [0, 1, 0, 0, n >> 8, n & 255]),
  );
  fc.assert(
    fc.property(frames, bad, frames, pieces, (before, header, after, sizes) => {
      const stream = Uint8Array.from([...before.flatMap(bytesOf), ...header, ...after.flatMap(bytesOf)]);
      const got = cut(stream, sizes);
      return !got.whole && JSON.stringify(got.frames) === JSON.stringify(before);
    }),
    { numRuns: 1000 },
  );
});

t.test('random bytes neither crash nor pass a frame that breaks the header rules', async () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 3000 }), pieces, (stream, sizes) => {
      return cut(stream, sizes).frames.every(({ body }) => body.length >= 3 && body.length <= 254);
    }),
    { numRuns: 1000 },
  );
});

t.test('a request on the wire is the header of the guide and the PDU', async (t) => {
  t.strictSame(
    [...mbapFrame(0x1501, 0xff, Uint8Array.of(4, 0, 1, 0, 1))],
    [0x15, 1, 0, 0, 0, 6, 0xff, 4, 0, 1, 0, 1],
  );
});
