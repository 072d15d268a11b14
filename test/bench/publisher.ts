// The baseline of a drain: mqtt.js publishes messages of one size from memory, QoS 1, with a window, as fast as the
// broker acknowledges.
import { readFileSync } from 'node:fs';
import mqtt from 'mqtt';
import { answering } from './answering.ts';
import { publisherSetup } from './poller-setup.ts';

const { publish, size, window } = publisherSetup.parse(JSON.parse(process.argv[2] ?? ''));
const payload = Buffer.alloc(size, 'x');
let acknowledged = 0;

const client = await mqtt.connectAsync(publish.url, {
  clientId: publish.name,
  ca: readFileSync(publish.ca),
  cert: readFileSync(publish.cert),
  key: readFileSync(publish.key),
});

function next(): void {
  client.publish('naive/backlog', payload, { qos: 1 }, (error) => {
    if (error instanceof Error) throw error;
    acknowledged++;
    next();
  });
}

for (let i = 0; i < window; i++) next();
answering(() => acknowledged);
