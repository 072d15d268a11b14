import { readFileSync } from 'node:fs';
import { parseConfig } from '../../src/config/parse.ts';
import { systemClock } from '../../src/core/clock.ts';
import { modbusGuard } from '../../src/drivers/modbus/guard/guard.ts';
import { guardsOf } from '../../src/segmentation/guards.ts';

// The guard of a gateway.yaml by itself, as the gateway process runs it. Tells on standard output.

const [, , file = ''] = process.argv;
const parsed = parseConfig(readFileSync(file, 'utf8'), file);
if (!('config' in parsed)) throw new Error(JSON.stringify(parsed.problems));
const guards = guardsOf(parsed.config);
const tell = (what: string, facts: object = {}): void =>
  void process.stdout.write(`${JSON.stringify({ what, ...facts })}\n`);
const stop = new AbortController();
process.on('SIGTERM', () => stop.abort());
const guard = modbusGuard({
  guards,
  clock: systemClock,
  log: { info: tell, warn: tell, error: tell },
  onEvent: () => {},
});
await guard.run(stop.signal);
