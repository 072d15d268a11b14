import { Agent, createServer, request, type Server } from 'coap';
import t, { type Test } from 'tap';
import { BatchBuilder } from '../../src/core/batch.ts';
import { systemClock } from '../../src/core/clock.ts';
import { silentLog } from '../../src/core/log.ts';
import { coapLine } from '../../src/drivers/coap/line.ts';
import { coapServer } from '../../src/drivers/coap/server.ts';
import { freeUdpPort } from '../support/ports.ts';
import { until } from '../support/wait.ts';
import { scan } from '../support/scan.ts';
import { plant, valuesOf } from './plant.ts';

const never = new AbortController().signal;
const deps = { clock: systemClock, log: silentLog };

async function device(t: Test): Promise<{ readonly port: number; readonly tell: (value: number) => void }> {
  const port = await freeUdpPort();
  const watchers = new Set<(value: number) => void>();
  const large = 'x'.repeat(3_000);
  const server: Server = createServer({ type: 'udp4' }, (asked, answer) => {
    answer.on('error', () => {});
    if (asked.url === '/large') answer.end(large);
    else if (asked.url === '/json') {
      answer.setOption('Content-Format', 'application/json');
      answer.end('{"t":[20.5]}');
    } else if (asked.headers.Observe === 0) {
      const tell = (value: number): boolean => answer.write(String(value));
      watchers.add(tell);
      answer.on('finish', () => watchers.delete(tell));
      tell(1);
    } else answer.end('7');
  });
  server.on('error', () => {});
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', () => resolve()));
  t.teardown(() => server.close());
  return { port, tell: (value) => watchers.forEach((watcher) => watcher(value)) };
}

t.test('a device of node-coap is polled, in blocks too, and observed', async (t) => {
  const { port, tell } = await device(t);
  const { devices, points } = plant({
    name: 'node',
    port,
    points: [
      { name: 'plain' },
      { name: 'json', pointer: '/t/0' },
      { name: 'large', type: 'string' },
      { name: 'seen', mode: 'observe' },
    ],
  });
  const line = coapLine(devices, points, deps);
  t.teardown(() => line.close());
  await line.connect(never);
  const into = new BatchBuilder();
  for (const poll of line.polls) await line.poll(poll, into, scan());
  const [plain, json, large] = valuesOf(into.take());
  t.same([plain, json, String(large).length], [7, 20.5, 3_000]);

  const stop = new AbortController();
  const watching = line.watch(into, stop.signal);
  const seen: unknown[] = [];
  const see = async (value: number) =>
    until(`value ${value}`, () => seen.push(...valuesOf(into.take())) >= 0 && seen.includes(value));
  await see(1);
  tell(2);
  await see(2);
  tell(3);
  await see(3);
  stop.abort();
  await watching;
  t.same(seen, [1, 2, 3]);
});

t.test('a device with node-coap pushes', async (t) => {
  const port = await freeUdpPort();
  const { devices, points } = plant({ name: 'node', port: 1, points: [{ name: 'level', mode: 'push' }] });
  const into = new BatchBuilder();
  const stop = new AbortController();
  const running = coapServer({ listen: { host: '127.0.0.1', port }, devices, points, into, ...deps }).run(
    stop.signal,
  );
  const agent = new Agent({ type: 'udp4' });
  t.teardown(async () => {
    agent.close();
    stop.abort();
    await running;
  });
  const push = async (pathname: string, value: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const asked = request({ host: '127.0.0.1', port, pathname, method: 'PUT', agent });
      asked.on('response', ({ code }) => resolve(code));
      asked.on('error', reject);
      asked.end(value);
    });
  t.equal(await push('/node/level', '12.5'), '2.04');
  t.equal(await push('/node/other', '1'), '4.04');
  t.same(valuesOf(into.take()), [12.5]);
});
