// A program: node guard-client.ts read|write SOURCE HOSTS PORT SECONDS: a connection to each host, one request after the
// other on each. Tells a JSON object: how many were answered as they have to be, how many otherwise, and how long it took.
import { connect } from 'node:net';

const HEADER = 7;
const QUANTITY = 10; // registers: what an HMI asks at a time
const SEVEN = 7;
const LONGEST_MS = 5_000;

const [what = '', source = '', hosts = '', port = '', seconds = ''] = process.argv.slice(2);
const took: number[] = [];
let wrong = 0;
const end = performance.now() + Number(seconds) * 1_000;

const request = (id: number): Buffer =>
  what === 'write'
    ? Buffer.from([id >> 8, id & 255, 0, 0, 0, 6, 1, 6, 0, 5, 0, 9])
    : Buffer.from([id >> 8, id & 255, 0, 0, 0, 6, 1, 3, 0, 0, 0, QUANTITY]);

function isRight(reply: Buffer, asked: Buffer): boolean {
  if (what === 'write') return reply.equals(asked);
  return reply.length === HEADER + 2 + QUANTITY * 2 && reply[HEADER] === 3 && reply.readUInt16BE(9) === SEVEN;
}

/** Until the time is over, or the other end has closed. */
async function ask(host: string): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const socket = connect({ host, port: Number(port), localAddress: source, noDelay: true });
  let held: Buffer = Buffer.alloc(0);
  let asked = request(0);
  let since = 0;
  const next = (): void => {
    asked = request((asked.readUInt16BE(0) + 1) & 0xffff);
    since = performance.now();
    socket.write(asked);
  };
  const close = (): void => {
    wrong += 1;
    resolve();
  };
  socket.setTimeout(LONGEST_MS, () => socket.destroy(new Error('no answer')));
  socket.once('connect', next);
  socket.once('error', close);
  socket.once('end', close);
  socket.on('data', (chunk: Buffer) => {
    held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    if (held.length < HEADER || held.length < 6 + held.readUInt16BE(4)) return;
    const now = performance.now();
    if (held.readUInt16BE(0) === asked.readUInt16BE(0) && isRight(held, asked)) took.push(now - since);
    else wrong += 1;
    held = Buffer.alloc(0);
    if (now < end) next();
    else resolve();
  });
  await promise;
  socket.removeAllListeners('end').destroy();
}

const began = performance.now();
await Promise.all(hosts.split(',').map(ask));
const elapsed = (performance.now() - began) / 1_000;
const sorted = Float64Array.from(took).toSorted();
const quantile = (share: number): number => sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
console.log(
  JSON.stringify({
    answered: took.length,
    wrong,
    seconds: elapsed,
    p50: quantile(0.5) * 1_000,
    p99: quantile(0.99) * 1_000,
  }),
);
