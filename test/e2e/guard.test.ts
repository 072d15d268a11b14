import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { parseConfig } from '../../src/config/parse.ts';
import { guardsOf } from '../../src/segmentation/guards.ts';
import { HostileModbus } from '../support/hostile-modbus.ts';
import { freeTcpPort } from '../support/ports.ts';
import { Running, SLUICE } from '../support/process.ts';
import { until } from '../support/wait.ts';
import { adu, answered } from '../modbus-guard/bed.ts';

const HMI = '127.99.9.9';
const STRANGER = '127.98.9.9';

/** What comes back for one request, as hexadecimal; undefined where the connection ends without. */
async function asked(port: number, from: string, pdu: readonly number[]): Promise<string | undefined> {
  const socket = connect({ port, host: '127.0.0.1', localAddress: from });
  socket.on('error', () => {});
  socket.write(adu(1, 1, pdu));
  return new Promise((resolve) => {
    socket.once('data', (chunk: Buffer) => {
      socket.destroy();
      resolve(chunk.subarray(7).toString('hex'));
    });
    socket.once('close', () => resolve(undefined));
  });
}

t.test('a gateway runs the guards of its gateway.yaml', async (t) => {
  const device = await HostileModbus.listen(answered);
  t.teardown(async () => device.close());
  const folder = mkdtempSync(join(tmpdir(), 'sluice-guard-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'gateway.yaml');
  writeFileSync(
    file,
    `gateway: { id: plant, data: ./data }
mqtt: { embedded: { listen: "127.0.0.1:${await freeTcpPort()}" } }
zones:
  control: { vlan: 10, subnet: 127.0.0.0/24 }
  supervision: { vlan: 40, subnet: 127.99.9.0/24 }
conduits:
  - { from: supervision, to: control, allow: [modbus-tcp], because: "HMI", guard: { read: ["400001-400010"], write: ["400005"] } }
classes:
  press: { zone: control, protocol: modbus, points: { p: { at: "coil:0" } } }
devices:
  press-1: { class: press, at: "modbus-tcp://127.0.0.1:${device.port}" }
segmentation: { mode: enforce, management: { zone: supervision, from: [127.99.9.2], allow: [ssh] } }
`,
  );
  const parsed = parseConfig(readFileSync(file, 'utf8'), file);
  if (!('config' in parsed)) throw new Error(JSON.stringify(parsed.problems));
  const port = guardsOf(parsed.config)[0]?.targets[0]?.listener ?? 0;
  const gateway = new Running(SLUICE, ['run', file]);
  t.teardown(async () => gateway.stop('SIGKILL'));
  const read = [3, 0, 0, 0, 2];
  await until('its guard', async () => (await asked(port, HMI, read)) !== undefined, 60_000);

  t.equal(await asked(port, HMI, read), '030400070007');
  t.equal(await asked(port, HMI, [3, 0, 10, 0, 1]), '8301', 'a register that is not listed');
  t.equal(await asked(port, HMI, [6, 0, 4, 0, 9]), '0600040009', 'the write that is listed');
  t.equal(await asked(port, HMI, [6, 0, 5, 0, 9]), '8601', 'and one that is not');
  t.equal(await asked(port, STRANGER, read), undefined, 'nobody else');
  t.same(
    device.requests.map(({ pdu }) => pdu[0]).filter((code) => code !== 3 && code !== 1),
    [6],
    'the device heard of one write',
  );
  await gateway.says(/guard: a request is forbidden.*conduit-supervision-control-0/);
  await gateway.says(/guard: a connection of somebody who is no client/);
});
