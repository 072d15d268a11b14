import t from 'tap';
import { BatchBuilder } from '../../src/core/batch.ts';
import { systemClock } from '../../src/core/clock.ts';
import { silentLog } from '../../src/core/log.ts';
import { coapLine } from '../../src/drivers/coap/line.ts';
import { coapServer } from '../../src/drivers/coap/server.ts';
import { missingPeer } from '../support/peer.ts';
import { freeUdpPort } from '../support/ports.ts';
import { until } from '../support/wait.ts';
import { CLIENT, libcoapClient, libcoapServer, PACKAGE, SERVER } from './libcoap.ts';
import { plant, rowsOf, valuesOf } from './plant.ts';

const deps = { clock: systemClock, log: silentLog };
const noServer = missingPeer(SERVER, PACKAGE);
const noClient = missingPeer(CLIENT, PACKAGE);
const never = new AbortController().signal;

t.test(
  'a poll reads the clock of libcoap, and what is not there is bad by name',
  { skip: noServer },
  async (t) => {
    const port = await freeUdpPort();
    const server = await libcoapServer(port);
    t.teardown(() => server.stop());
    const { devices, points } = plant({
      name: 'clock',
      port,
      points: [{ name: 'time', type: 'string' }, { name: 'nothing' }],
    });
    const line = coapLine(devices, points, deps);
    t.teardown(() => line.close());
    await line.connect(never);
    const into = new BatchBuilder();

    for (const poll of line.polls) await line.poll(poll, into, never);

    const [time, nothing] = rowsOf(into.take());
    t.match(time?.value, /^[A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d$/);
    t.match(nothing, { value: null, reason: 'not found' });
  },
);

t.test('libcoap pushes a value and a wrong path is refused', { skip: noClient }, async (t) => {
  const port = await freeUdpPort();
  const { devices, points } = plant({ name: 'tank-3', port: 1, points: [{ name: 'level', mode: 'push' }] });
  const into = new BatchBuilder();
  const server = coapServer({ listen: { host: '127.0.0.1', port }, devices, points, into, ...deps });
  const stop = new AbortController();
  const running = server.run(stop.signal);
  t.teardown(async () => {
    stop.abort();
    await running;
  });
  const at = `coap://127.0.0.1:${port}`;
  await until('the server to listen', async () =>
    (await libcoapClient('-B', '1', `${at}/x`)).text.includes('4.04'),
  );

  const good = await libcoapClient('-B', '3', '-m', 'post', '-e', '2.75', `${at}/tank-3/level`);
  const put = await libcoapClient('-B', '3', '-m', 'put', '-N', '-e', '2.5', `${at}/tank-3/level`);
  const wrong = await libcoapClient('-B', '3', '-m', 'post', '-e', '9', `${at}/tank-3/other`);

  t.equal(good.text, '');
  t.equal(put.text, '');
  t.match(wrong.text, /4\.04/);
  t.same(valuesOf(into.take()), [2.75, 2.5]);
});
