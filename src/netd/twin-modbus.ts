import type { Socket } from 'node:net';

// A device of a twin and whoever asks it, as far as a guard between them can tell: frames of Modbus TCP (Messaging Guide
// V1.0b, 3.1.3), requests of one value.

/** Transaction, protocol, length; then as many bytes as that says: unit and PDU. */
const HEAD = 6;
const EXCEPTION = 0x80;
const ILLEGAL_FUNCTION = 1;
const [COILS, DISCRETE, HOLDING, INPUT] = [1, 2, 3, 4] as const;

/** Each whole frame; whatever else comes is none of a twin. */
function onFrames(stream: Socket, take: (head: Buffer, body: Buffer) => void): void {
  let kept = Buffer.alloc(0);
  stream.on('data', (chunk) => {
    kept = Buffer.concat([kept, Buffer.from(chunk)]);
    while (kept.length >= HEAD) {
      const end = HEAD + kept.readUInt16BE(4);
      if (kept.length < end) return;
      take(kept.subarray(0, HEAD), kept.subarray(HEAD, end));
      kept = kept.subarray(end);
    }
  });
}

const framed = (head: Buffer, body: Buffer): Buffer => {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(body.length);
  return Buffer.concat([head.subarray(0, 4), length, body]);
};

/** Zeros for whoever reads; whoever writes hears what he wrote. */
export function serveModbus(stream: Socket): void {
  onFrames(stream, (head, body) => {
    const [unit = 0, code = 0] = body;
    const quantity = body.length >= HEAD ? body.readUInt16BE(4) : 0;
    const bytes = { [COILS]: (quantity + 7) >> 3, [DISCRETE]: (quantity + 7) >> 3, [HOLDING]: quantity * 2, [INPUT]: quantity * 2 }[code]; // biome-ignore format: a table reads better
    const answer =
      bytes === undefined ? body : Buffer.concat([Buffer.from([unit, code, bytes]), Buffer.alloc(bytes)]);
    stream.write(framed(head, answer));
  });
}

/** `request` is unit and PDU. Any other exception says nothing of a guard: then nobody is told. */
export function askModbus(
  stream: Socket,
  request: Buffer,
  tell: (how: 'answered' | 'refused') => void,
): void {
  const code = request[1] ?? 0;
  stream.once('connect', () => stream.write(framed(Buffer.alloc(HEAD), request)));
  onFrames(stream, (_head, body) => {
    if (body[1] === code) tell('answered');
    else if (body[1] === (code | EXCEPTION) && body[2] === ILLEGAL_FUNCTION) tell('refused');
  });
}
