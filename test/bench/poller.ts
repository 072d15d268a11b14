// The naive client that the gateway is measured against: modbus-serial, one loop a connection, and mqtt.js with one
// message per value where it publishes. It keeps nothing on disk, filters nothing and checks nothing.
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import modbus from 'modbus-serial';
import mqtt from 'mqtt';
import { answering } from './answering.ts';
import { deviceIndex, deviceName, pointName } from './plant.ts';
import { pollerSetup } from './poller-setup.ts';

const FLOATS_PER_READ = 62; // whole float32 in 125 registers

const setup = pollerSetup.parse(JSON.parse(process.argv[2] ?? ''));
const { plant } = setup;

const client =
  setup.publish === undefined
    ? undefined
    : await mqtt.connectAsync(setup.publish.url, {
        clientId: setup.publish.name,
        ca: readFileSync(setup.publish.ca),
        cert: readFileSync(setup.publish.cert),
        key: readFileSync(setup.publish.key),
      });

/** The latest value of every point, as an application would hold them. */
const latest = new Float64Array(plant.endpoints * plant.units * plant.points);

async function poll(port: number, endpoint: number): Promise<void> {
  const line = new modbus.default();
  await line.connectTCP('127.0.0.1', { port });
  line.setTimeout(setup.timeout);
  for (let due = Date.now(); ; due += plant.every) {
    for (let unit = 1; unit <= plant.units; unit++) {
      line.setID(unit);
      for (let point = 0; point < plant.points; point += FLOATS_PER_READ) {
        const count = Math.min(FLOATS_PER_READ, plant.points - point);
        const device = deviceIndex(plant, endpoint, unit);
        try {
          const { buffer } = await line.readInputRegisters(point * 2, count * 2);
          for (let i = 0; i < count; i++) take(device, point + i, buffer.readFloatBE(i * 4));
        } catch {
          // A silent unit: the next one is asked.
        }
      }
    }
    await pause(Math.max(0, due + plant.every - Date.now()));
  }
}

function take(device: number, point: number, value: number): void {
  latest[device * plant.points + point] = value;
  if (client === undefined) return;
  const payload = JSON.stringify({ time: Date.now(), value, quality: 'good' });
  client.publish(`naive/${deviceName(device)}/${pointName(point)}`, payload, { qos: 1 });
}

answering(() => latest.length);
for (const [endpoint, port] of setup.ports.entries()) void poll(port, endpoint);
