// A program: node guard-device.ts PORT: a Modbus TCP device at every address of its namespace, written from the
// specification: answers reads of holding registers with 7s, and writes of one register with an echo. Says "ready".
import { createServer } from 'node:net';

const HEADER = 7; // transaction, protocol, length, unit (Messaging Guide V1.0b, 3.1.3)
const READ = 3;
const SEVEN = 7;

const server = createServer({ noDelay: true }, (socket) => {
  let held: Buffer = Buffer.alloc(0);
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk: Buffer) => {
    held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    while (held.length >= HEADER && held.length >= 6 + held.readUInt16BE(4)) {
      const end = 6 + held.readUInt16BE(4);
      socket.write(answer(held.subarray(0, end)));
      held = held.subarray(end);
    }
  });
});

function answer(request: Buffer): Buffer {
  if (request[HEADER] !== READ) return request;
  const quantity = request.readUInt16BE(10);
  const reply = Buffer.alloc(HEADER + 2 + quantity * 2);
  request.copy(reply, 0, 0, 8);
  reply.writeUInt16BE(3 + quantity * 2, 4);
  reply.writeUInt8(quantity * 2, 8);
  for (let i = 0; i < quantity; i += 1) reply.writeUInt16BE(SEVEN, 9 + i * 2);
  return reply;
}

server.listen(Number(process.argv[2]), '0.0.0.0', () => console.log('ready'));
