// A Modbus TCP slave in a process of its own, written from the specification so that it shares no mistake with the
// gateway's driver: it serves the input registers of a plant and counts what it is asked.
import { createServer, type Socket } from 'node:net';
import { answering } from './answering.ts';
import { Histogram } from './histogram.ts';
import { deviceIndex, valueOf } from './plant.ts';
import { type SlaveReport, slaveAsk, slaveSetup } from './slave-messages.ts';

// Modbus Messaging on TCP/IP Implementation Guide V1.0b, 3.1.3: transaction, protocol, length, unit.
const HEADER = 7;
const READ_INPUT_REGISTERS = 4; // Application Protocol V1.1b3, 6.4
const MAX_REGISTERS_PER_READ = 125; // 6.4: 0x0001 to 0x007D
const REQUEST = HEADER + 5; // function, address, quantity
const EXCEPTION = { function: 1, address: 2, value: 3 } as const; // section 7

const plant = slaveSetup.parse(JSON.parse(process.argv[2] ?? ''));
const registers = plant.points * 2;
const silent = new Set<number>();
/** When each unit was last asked for its first register: the beginning of a cycle. */
const cycleBegan = new Float64Array(plant.endpoints * plant.units);
// Two floats more than a reply holds, for a read that begins and ends in the middle of one.
const scratch = Buffer.alloc((MAX_REGISTERS_PER_READ + 3) * 2);

let counted = fresh();

function fresh() {
  return {
    since: performance.now(),
    requests: 0,
    values: 0,
    bytesIn: 0,
    bytesOut: 0,
    period: new Histogram(),
  };
}

function serve(socket: Socket, endpoint: number): void {
  let rest: Buffer = Buffer.alloc(0);
  socket.setNoDelay(true);
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk) => {
    counted.bytesIn += chunk.length;
    let input = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    while (input.length >= HEADER && input.length >= 6 + input.readUInt16BE(4)) {
      const end = 6 + input.readUInt16BE(4);
      const reply = answer(input.subarray(0, end), endpoint);
      if (reply !== undefined) {
        counted.bytesOut += reply.length;
        socket.write(reply);
      }
      input = input.subarray(end);
    }
    rest = input;
  });
}

function answer(request: Buffer, endpoint: number): Buffer | undefined {
  counted.requests++;
  const unit = request.readUInt8(6);
  const device = deviceIndex(plant, endpoint, unit);
  if (unit < 1 || unit > plant.units || silent.has(device)) return undefined;
  if (request.length !== REQUEST || request.readUInt8(7) !== READ_INPUT_REGISTERS)
    return refusal(request, EXCEPTION.function);
  const first = request.readUInt16BE(8);
  const quantity = request.readUInt16BE(10);
  if (quantity < 1 || quantity > MAX_REGISTERS_PER_READ) return refusal(request, EXCEPTION.value);
  if (first + quantity > registers) return refusal(request, EXCEPTION.address);
  if (first === 0) countCycle(device);
  counted.values += quantity / 2;
  return reading(request, device, first, quantity);
}

function countCycle(device: number): void {
  const now = performance.now();
  const before = cycleBegan[device] ?? 0;
  if (before > 0) counted.period.add(now - before);
  cycleBegan[device] = now;
}

function reading(request: Buffer, device: number, first: number, quantity: number): Buffer {
  const now = Date.now();
  const from = first >> 1;
  const to = (first + quantity + 1) >> 1;
  for (let point = from; point < to; point++)
    scratch.writeFloatBE(valueOf(device, point, now), (point - from) * 4);
  const reply = Buffer.allocUnsafe(HEADER + 2 + quantity * 2);
  request.copy(reply, 0, 0, 8);
  reply.writeUInt16BE(3 + quantity * 2, 4);
  reply.writeUInt8(quantity * 2, 8);
  scratch.copy(reply, 9, (first & 1) * 2, (first & 1) * 2 + quantity * 2);
  return reply;
}

function refusal(request: Buffer, code: number): Buffer {
  const reply = Buffer.alloc(HEADER + 2);
  request.copy(reply, 0, 0, 8);
  reply.writeUInt16BE(3, 4);
  reply.writeUInt8(request.readUInt8(7) | 0x80, 7);
  reply.writeUInt8(code, 8);
  return reply;
}

function report(): SlaveReport {
  const { since, period, ...counts } = counted;
  const late = period.above(plant.every + plant.every / 10);
  return { ...counts, seconds: (performance.now() - since) / 1_000, period: period.spread(), late };
}

const ports: number[] = [];
for (let endpoint = 0; endpoint < plant.endpoints; endpoint++) {
  const server = createServer((socket) => serve(socket, endpoint));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  ports.push(address.port);
}

answering((question) => {
  const ask = slaveAsk.parse(question);
  switch (ask.what) {
    case 'ports':
      return ports;
    case 'reset':
      counted = fresh();
      return null;
    case 'report':
      return report();
    case 'silence':
      for (const device of ask.devices) silent.add(device);
      return null;
    default:
      return ask satisfies never;
  }
});
