import { streamLog } from '../core/log.ts';
import { FAULTS, type Fault, isFault } from '../simulate/fault.ts';
import { type Plant, startPlant } from '../simulate/plant.ts';
import { loadConfig } from './load.ts';
import { HELP, JSON_TOO, oneFile, parsedOptions, usage } from './options.ts';
import { runUntilStopped } from './until-stopped.ts';

const TEXT = `Usage: ./sluice simulate [--seed N] [--fault DEVICE=KIND]... [--json] [gateway.yaml]

Serves every device of a configuration with its real protocol on a real socket, until Ctrl-C. Values are plausible and
the same for the same seed and second; what is written to a writable point is kept.

  --seed N             another number, another plant; 1 where it is left out
  --fault DEVICE=KIND  ${FAULTS.join(', ')}
  --json               {"places": [{"address", "devices"}], "left"} on standard output, one line, when all of them listen

Exit status: 0 stopped, 1 failed, 64 wrong usage, 78 wrong configuration.
`;

const OPTIONS = {
  ...HELP,
  ...JSON_TOO,
  seed: { type: 'string', default: '1' },
  fault: { type: 'string', multiple: true },
} as const;

export async function run(args: readonly string[]): Promise<number> {
  const asked = readArguments(args);
  if (asked === 'help') {
    process.stdout.write(TEXT);
    return 0;
  }
  const config = await loadConfig(asked.file);
  const unknown = Object.keys(asked.faults).find(
    (name) => !config.devices.some((device) => device.name === name),
  );
  if (unknown !== undefined)
    throw usage('simulate', `--fault ${unknown}: there is no such device in ${asked.file}`);

  await runUntilStopped(
    [
      {
        name: 'simulated plant',
        run: async (signal) => {
          const plant = await startPlant(config, {
            signal,
            log: streamLog(),
            seed: asked.seed,
            faults: asked.faults,
          });
          const { places, left } = plant;
          process.stdout.write(asked.json ? `${JSON.stringify({ places, left })}\n` : forPerson(plant));
          await plant.stopped;
        },
      },
    ],
    whoAskedIsGone(),
  );
  return 0;
}

/** Aborted when the process that started this one with a channel, as the demo does, has gone: no plant is left behind. */
function whoAskedIsGone(): AbortSignal {
  const gone = new AbortController();
  process.once('disconnect', () => gone.abort());
  process.channel?.unref();
  return gone.signal;
}

function forPerson({ places, left }: Plant): string {
  const width = Math.max(0, ...places.map(({ address }) => address.length));
  const lines = places.map(({ address, devices }) => `  ${address.padEnd(width)}  ${devices.join(', ')}\n`);
  const rest = left.length > 0 ? `\nNot simulated (only modbus-tcp and coap are): ${left.join(', ')}\n` : '';
  return `Simulated plant:\n\n${lines.join('')}${rest}\nCtrl-C stops it.\n`;
}

interface Asked {
  readonly file: string;
  readonly seed: number;
  readonly faults: Readonly<Record<string, Fault>>;
  readonly json: boolean;
}

function readArguments(args: readonly string[]): Asked | 'help' {
  const { values, positionals } = parsedOptions('simulate', args, OPTIONS);
  if (values.help) return 'help';
  const file = oneFile('simulate', positionals);
  if (!/^\d{1,9}$/.test(values.seed)) throw usage('simulate', `--seed ${values.seed} is no whole number`);
  return { file, seed: Number(values.seed), faults: faultsOf(values.fault ?? []), json: values.json };
}

function faultsOf(texts: readonly string[]): Record<string, Fault> {
  return Object.fromEntries(
    texts.map((text) => {
      const [device = '', kind = ''] = text.split('=');
      if (!isFault(kind))
        throw usage('simulate', `--fault ${text} should be DEVICE=KIND, with ${FAULTS.join(', ')}`);
      return [device, kind] as const;
    }),
  );
}
