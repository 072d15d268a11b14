import type { Config } from '../config/config.ts';
import { formatProblem } from '../config/problem.ts';
import { readConfig } from './load.ts';
import { HELP, JSON_TOO, oneFile, parsedOptions } from './options.ts';

const TEXT = `Usage: ./sluice check [--json] [gateway.yaml]

Checks a configuration and prints every problem as file:line:column: path: what was found; how to fix.
Needs no device, no root and no network.

  --json  one object on standard output: {"file", "ok", "problems": [{"file", "line", "column", "path", "found", "fix"}]}

Exit status: 0 the file is right, 78 it is wrong or cannot be read, 64 wrong usage.
`;

/** EX_CONFIG of sysexits.h. */
const WRONG_CONFIGURATION = 78;

export async function run(args: readonly string[]): Promise<number> {
  const { values, positionals } = parsedOptions('check', args, { ...HELP, ...JSON_TOO });
  if (values.help) {
    process.stdout.write(TEXT);
    return 0;
  }
  const { json } = values;
  const file = oneFile('check', positionals);
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
