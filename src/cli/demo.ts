import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Config, Listen } from '../config/config.ts';
import { SluiceError } from '../core/errors.ts';
import { type Log, streamLog } from '../core/log.ts';
import type { Task } from '../core/task.ts';
import { systemClock } from '../core/clock.ts';
import { seconds } from '../core/units.ts';
import { runGateway } from '../gateway.ts';
import { connect, type InboundMessage } from '../mqtt/client.ts';
import { holdData } from '../sole-instance.ts';
import { demoCredentials, OPERATOR, SCREEN, VIEWER } from './demo-credentials.ts';
import { loadConfig } from './load.ts';
import { messageLine } from './message-line.ts';
import { HELP, oneFile, parsedOptions } from './options.ts';
import { reachable, shellWord } from '../core/shell-word.ts';
import { runUntilStopped } from './until-stopped.ts';

const TEXT = `Usage: ./sluice demo [gateway.yaml]

Serves the devices of the configuration on real sockets, runs the gateway in front of them, and subscribes to it with a
certificate of its own to show what arrives. This is what npm start runs. Ctrl-C stops everything.
`;

/** The broker needs a moment to come up. */
const TRY_AGAIN_AFTER = seconds(0.2);

export async function run(args: readonly string[]): Promise<number> {
  const { values, positionals } = parsedOptions('demo', args, HELP);
  if (values.help) {
    process.stdout.write(TEXT);
    return 0;
  }
  const config = await loadConfig(oneFile('demo', positionals));
  const { embedded } = config.mqtt;
  if (embedded === undefined) {
    throw new SluiceError(
      'USAGE',
      `${config.file} has no embedded broker, and the demo shows what arrives there`,
      {
        remedy: 'use ./sluice simulate and ./sluice run',
      },
    );
  }
  using held = new DisposableStack();
  held.use(holdData(config.gateway.data));
  const log = streamLog();
  const credentials = await demoCredentials(config);
  const plant = await startPlant(config);
  process.stdout.write(welcome(config, embedded, credentials));
  const nobodyLooks = new AbortController();
  process.stdout.on('error', () => nobodyLooks.abort());
  await runUntilStopped(
    [
      plant,
      { name: 'gateway', run: async (signal) => runGateway(config, log, signal) },
      viewer(config, embedded, credentials, log),
    ],
    nobodyLooks.signal,
  );
  process.stdout.write('Stopped: plant, gateway and subscriber.\n');
  return 0;
}

function welcome(config: Config, { host, port }: Listen, credentials: string): string {
  const shown = host.includes(':') ? `[${host}]` : host;
  const file = (name: string): string => shellWord(join(credentials, name));
  const client = (program: string, name: string): string =>
    `${program} -h ${reachable(host)} -p ${port} --cafile ${file('ca.pem')} ` +
    `--cert ${file(`${name}.pem`)} --key ${file(`${name}.key`)} -i ${name}`;
  const root = `sluice/${config.gateway.id}`;
  const writable = config.points.find(
    ({ source, writable: may }) => may && source.kind === 'modbus' && source.type === 'bool',
  );
  const command =
    writable === undefined
      ? ''
      : `Command, as somebody who may:\n  ${client('mosquitto_pub', OPERATOR)} -q 1 -t ` +
        `'${root}/command/${writable.device}/${writable.name}' -m '{"id":"1","value":true}'\n`;
  return `Broker: mqtts://${shown}:${port}, mutual TLS only. Topics: ${root}/...
Subscribe, in another terminal (Debian package mosquitto-clients):
  ${client('mosquitto_sub', VIEWER)} -q 1 -v -t '${root}/#'
${command}What a subscriber receives (Ctrl-C stops everything):
`;
}

/** The simulated devices in a process of their own, as they would be in a plant; resolves when all of them listen. */
async function startPlant(config: Config): Promise<Task> {
  const main = fileURLToPath(new URL('../main.ts', import.meta.url));
  const child = spawn(process.execPath, [main, 'simulate', '--json', config.file], {
    // The channel carries nothing; its end tells the plant that the demo is gone, also after kill -9.
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  });
  const ended = once(child, 'exit').then(([code]) => String(code));
  const listening = Promise.withResolvers<undefined>();
  child.stdout?.once('data', () => listening.resolve(undefined));
  const early = await Promise.race([ended, listening.promise]);
  if (early !== undefined) throw plantEnded(early);
  const stop = (): unknown => child.kill('SIGTERM');
  return {
    name: 'plant',
    run: async (signal) => {
      signal.addEventListener('abort', stop, { once: true });
      if (signal.aborted) stop();
      const code = await ended;
      if (!signal.aborted) throw plantEnded(code);
    },
  };
}

function plantEnded(code: string): SluiceError {
  return new SluiceError('SETUP', `the simulated plant ended with status ${code}`, {
    remedy: 'it said why; ./sluice simulate runs it alone',
  });
}

function onMessage({ topic, payload }: InboundMessage): void {
  process.stdout.write(messageLine(topic, payload));
}

/** Subscribes like any other client and prints what arrives. */
function viewer(config: Config, listen: Listen, credentials: string, log: Log): Task {
  const text = (name: string): string => readFileSync(join(credentials, name), 'utf8');
  return {
    name: 'viewer',
    run: async (signal) => {
      const identity = { ca: text('ca.pem'), cert: text(`${SCREEN}.pem`), key: text(`${SCREEN}.key`) };
      while (!signal.aborted) {
        try {
          const to = {
            ...listen,
            host: reachable(listen.host),
            identity,
            clientId: SCREEN,
            protocol: 4,
            onMessage,
          } as const;
          const connection = await connect(to, signal);
          await connection.subscribe(`sluice/${config.gateway.id}/#`);
          signal.addEventListener('abort', () => void connection.end(true), { once: true });
          const reason = await connection.gone;
          if (!signal.aborted)
            log.warn('the subscriber of the demo lost the broker', { why: reason.message });
        } catch {
          // Not up yet; the gateway itself says what is wrong where it cannot come up.
        }
        await systemClock.sleep(TRY_AGAIN_AFTER, signal).catch(() => {});
      }
    },
  };
}
