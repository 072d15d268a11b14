import { parseArgs } from 'node:util';
import type { Config } from '../config/config.ts';
import { formatProblem } from '../config/problem.ts';
import { errorText, SluiceError } from '../core/errors.ts';
import { DEFAULT_FILE, readConfig } from './load.ts';

const HELP = `Usage: ./sluice check [--json] [gateway.yaml]

Checks a configuration and prints every problem as file:line:column: path: what was found; how to fix.
Needs no device, no root and no network.

  --json  one object on standard output: {"file", "ok", "problems": [{"file", "line", "column", "path", "found", "fix"}]}

Exit status: 0 the file is right, 78 it is wrong or cannot be read, 64 wrong usage.
`;

/** EX_CONFIG of sysexits.h. */
const WRONG_CONFIGURATION = 78;

export async function run(args: readonly string[]): Promise<number> {
  const { json, help, file } = readArguments(args);
  if (help) {
    process.stdout.write(HELP);
    return 0;
  }
  const parsed = await readConfig(file);
  const problems = 'problems' in parsed ? parsed.problems : [];
  if (json) process.stdout.write(`${JSON.stringify({ file, ok: problems.length === 0, problems })}\n`);
  if ('config' in parsed) {
    if (!json) process.stdout.write(`${file} is right: ${summary(parsed.config)}\n`);
    return 0;
  }
  if (!json) {
    const count = problems.length === 1 ? '1 problem' : `${problems.length} problems`;
    process.stderr.write(`${problems.map(formatProblem).join('\n')}\n${count}\n`);
  }
  return WRONG_CONFIGURATION;
}

function summary({ devices, points, zones, conduits }: Config): string {
  return [
    counted(devices.length, 'device'),
    counted(points.length, 'point'),
    counted(zones.length, 'zone'),
    counted(conduits.length, 'conduit'),
  ].join(', ');
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

interface Arguments {
  readonly json: boolean;
  readonly help: boolean;
  readonly file: string;
}

function readArguments(args: readonly string[]): Arguments {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
    if (positionals.length <= 1) return { ...values, file: positionals[0] ?? DEFAULT_FILE };
  } catch (error) {
    throw new SluiceError('USAGE', errorText(error), {
      cause: error,
      remedy: './sluice check --help tells more',
    });
  }
  throw new SluiceError('USAGE', 'check takes one file', { remedy: './sluice check --help tells more' });
}
