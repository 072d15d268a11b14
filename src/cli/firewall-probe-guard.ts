// The guard of a gateway.yaml as the gateway runs it, in the gateway of a twin: node firewall-probe-guard.ts GATEWAY.YAML.
// Says one line when connections can come; ends when standard input does, and the twin with it.
import { systemClock } from '../core/clock.ts';
import { errorText } from '../core/errors.ts';
import { modbusGuard } from '../drivers/modbus/guard/guard.ts';
import { guardsOf } from '../segmentation/guards.ts';
import { loadConfig } from './load.ts';

const say = (answer: object): void => void process.stdout.write(`${JSON.stringify(answer)}\n`);
const over = new AbortController();
const silent = (): void => {};
let isReady = false;

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, silent); // Ctrl-C is for whoever started us
process.stdin.resume().on('end', () => process.exit(0));
try {
  const guards = guardsOf(await loadConfig(process.argv[2]));
  const clock: typeof systemClock = {
    ...systemClock,
    // It rests when it has opened all of its ports.
    sleep: async (duration, signal) => {
      if (!isReady) say({ done: 'ready' });
      isReady = true;
      await systemClock.sleep(duration, signal);
    },
  };
  const log = { info: silent, warn: silent, error: silent };
  await modbusGuard({ guards, clock, log, onEvent: silent }).run(over.signal);
} catch (error) {
  say({ failed: errorText(error) });
  process.exit(1);
}
