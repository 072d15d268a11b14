import { createServer, type Socket } from 'node:net';
import * as fc from 'fast-check';
import t from 'tap';
import type { PointValue } from '../../src/core/batch.ts';
import { silentLog } from '../../src/core/log.ts';
import { milliseconds, seconds } from '../../src/core/units.ts';
import { type ModbusLine, modbusLine } from '../../src/drivers/modbus/line.ts';
import { viewOf } from '../../src/drivers/modbus/pdu.ts';
import { crc16, rtuFrame, RtuWire } from '../../src/drivers/modbus/rtu.ts';
import { HandClock } from '../support/clock.ts';
import { lineTo, never, pollOutcome, readAll } from '../support/modbus-line.ts';
import { missingPymodbus, pymodbusSlave } from '../support/modbus-peers.ts';
import { modbusDevice, modbusPoint } from '../support/modbus-points.ts';
import { until } from '../support/wait.ts';

const TIMEOUT = seconds(1);

const crc = (bytes: Uint8Array) => crc16(viewOf(bytes), bytes.length);

t.test('the CRC is that of the specification and of known frames', async (t) => {
  t.equal(crc(Uint8Array.of(2, 7)), 0x1241); // Serial Line V1.02, appendix B
  t.equal(crc(Buffer.from('123456789')), 0x4b37);
  t.strictSame([...rtuFrame(1, Uint8Array.of(3, 0, 0, 0, 10))], [1, 3, 0, 0, 0, 10, 0xc5, 0xcd]);
});

/** A reply with one register, laid out by hand; the CRC was checked above. */
const reply = (unit: number, value: number) => rtuFrame(unit, Uint8Array.of(3, 2, value >> 8, value & 255));

interface Scene {
  readonly line: ModbusLine;
  readonly clock: HandClock;
  /** Requests that arrived, as [unit, address]. */
  readonly requests: (readonly [number, number])[];
  answer: (socket: Socket, unit: number, address: number) => void;
}

/** Units 1 and 2 behind one serial server; polls 0 and 1 are addresses 0 and 500 of unit 1, poll 2 is unit 2. */
async function scene(test: Pick<typeof t, 'teardown'>): Promise<Scene> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('data', (bytes: Buffer) => {
      const place = [bytes[0] ?? 0, bytes.readUInt16BE(2)] as const;
      now.requests.push(place);
      now.answer(socket, ...place);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
  const clock = new HandClock();
  const points = [modbusPoint(0), modbusPoint(1, { address: 500 }), modbusPoint(2)];
  const protocol = 'modbus-rtu-tcp';
  const devices = [
    modbusDevice(port, [0, 1], { unit: 1, protocol }),
    modbusDevice(port, [2], { unit: 2, protocol }),
  ];
  const line = modbusLine(devices, points, { clock, log: silentLog });
  await line.connect(never);
  test.teardown(async () => {
    await line.close();
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  const now: Scene = { line, clock, requests: [], answer: () => {} };
  return now;
}

async function pollIntoSilence(now: Scene, which: number): Promise<readonly PointValue[] | string> {
  const sent = now.requests.length;
  const outcome = pollOutcome(now.line, which);
  await until('the request', () => now.requests.length > sent);
  await now.clock.advance(TIMEOUT);
  return outcome;
}

t.test('a late reply is not taken for the next read of the unit; its neighbour goes on', async (t) => {
  const now = await scene(t);
  let late: Socket | undefined;
  now.answer = (socket) => (late = socket);
  t.equal(await pollIntoSilence(now, 0), 'DEVICE_TIMEOUT');

  t.equal(await pollOutcome(now.line, 1), 'DEVICE_TIMEOUT', 'not asked while the reply of 0 may come');
  t.equal(now.requests.length, 1);
  now.answer = (socket) => {
    socket.write(reply(1, 111)); // the late one
    socket.write(reply(2, 222));
  };
  t.strictSame(await pollOutcome(now.line, 2), [undefined, undefined, 222]);
  await now.clock.advance(milliseconds(TIMEOUT / 2));
  late?.write(reply(1, 111));
  await until('the late reply', () => now.line.counters.discarded === 2);
  await now.clock.advance(milliseconds(TIMEOUT - 1));
  t.equal(await pollOutcome(now.line, 1), 'DEVICE_TIMEOUT', 'a whole time-out of silence since it was heard');
  await now.clock.advance(milliseconds(1));
  now.answer = (socket) => socket.write(reply(1, 333));

  t.strictSame(await pollOutcome(now.line, 1), [undefined, 333]);
});

t.test('the unit stays out over a reconnect: a serial server keeps the late reply', async (t) => {
  const now = await scene(t);
  now.answer = (socket) => socket.resetAndDestroy();
  t.equal(await pollOutcome(now.line, 0), 'CONNECTION_LOST');
  now.answer = (socket, unit) => socket.write(reply(unit, 5));
  await now.line.connect(never);

  t.equal(await pollOutcome(now.line, 1), 'DEVICE_TIMEOUT');
  t.strictSame(await pollOutcome(now.line, 2), [undefined, undefined, 5]);
  await now.clock.advance(TIMEOUT);
  t.strictSame(await pollOutcome(now.line, 1), [undefined, 5]);
});

t.test('a wrong CRC, a byte of noise in front, a false length: no value', async (t) => {
  const bad = reply(1, 111).with(6, 0);
  const noisy = Uint8Array.of(0, ...reply(1, 111));
  const long = rtuFrame(1, Uint8Array.of(3, 4, 0, 111, 0, 111));
  for (const bytes of [bad, noisy, long, Uint8Array.of(1, 3, 0xff, 0), Buffer.from('login: ')]) {
    const now = await scene(t);
    now.answer = (socket) => socket.write(bytes);
    const sent = pollOutcome(now.line, 0);
    await until('the bytes', () => now.line.counters.bytesReceived === bytes.length);
    await now.clock.advance(TIMEOUT);
    t.match(await sent, /DEVICE_TIMEOUT|REPLY_MISMATCH/);
  }
});

t.test('a second request at the same time is not sent', async (t) => {
  const now = await scene(t);
  const first = pollIntoSilence(now, 0);

  t.equal(await pollOutcome(now.line, 2), 'DEVICE_TIMEOUT');
  t.equal(await first, 'DEVICE_TIMEOUT');
  t.equal(now.requests.length, 1);
});

t.test('random bytes give no frame but those with a right CRC, and never crash', async () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 10 }), (chunks) => {
      const wire = new RtuWire(new HandClock());
      wire.frame(7, 1, Uint8Array.of(3, 0, 0, 0, 1));
      let right = true;
      const frame = (_: number, view: DataView, start: number, end: number) => {
        right &&= crc16(view, end) === view.getUint16(end, true) && start === 0;
      };
      for (const chunk of chunks) wire.push(viewOf(chunk), chunk.length, { frame });
      return right;
    }),
  );
});

t.test('frames survive any fragmentation', async () => {
  const value = fc.nat(65_535);
  fc.assert(
    fc.property(value, fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1 }), (sent, sizes) => {
      const wire = new RtuWire(new HandClock());
      wire.frame(7, 1, Uint8Array.of(3, 0, 0, 0, 1));
      const bytes = reply(1, sent);
      const got: number[] = [];
      const frame = (transaction: number, view: DataView) => got.push(transaction, view.getUint16(3));
      for (let at = 0, i = 0; at < bytes.length; i++) {
        const piece = bytes.subarray(at, at + (sizes[i % sizes.length] ?? 1));
        wire.push(viewOf(piece), piece.length, { frame });
        at += piece.length;
      }
      return got.length === 2 && got[0] === 7 && got[1] === sent;
    }),
  );
});

t.test(
  'pymodbus as RTU slave behind TCP: every type in every byte order, and writes',
  { skip: missingPymodbus() },
  async (t) => {
    const peer = await pymodbusSlave('rtu');
    t.teardown(peer.stop);
    const points = peer.layout.filter(({ type }) => type !== 'string' && type !== 'uint64');
    const line = await lineTo(
      peer.port,
      [
        ...points,
        { table: 'coil', address: 4 },
        { address: 600, type: 'float32' },
        { address: 900, bit: 3 },
      ] as const,
      { protocol: 'modbus-rtu-tcp' },
    );
    t.teardown(() => line.close());

    await line.write(points.length, true, never);
    await line.write(points.length + 1, 0.1, never);
    await line.write(points.length + 2, true, never);
    const values = await readAll(line);

    points.forEach(({ value, type, order }, i) => t.equal(values[i], Number(value), `${type} ${order}`));
    t.strictSame(values.slice(points.length), [true, 0.1, true]);
  },
);
