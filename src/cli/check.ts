import type { Config, Problem } from '../config/config.ts';
import { formatProblem } from '../config/problem.ts';
import { endless, expired } from '../config/observation.ts';
import { counted } from '../core/counted.ts';
import { epochMs } from '../core/units.ts';
import { SluiceError } from '../core/errors.ts';
import type { Finding, Parsed } from '../config/parse.ts';
import { declare } from '../segmentation/declare.ts';
import { lint } from '../segmentation/lint.ts';
import { readConfig } from './load.ts';
import { HELP, JSON_TOO, oneFile, parsedOptions } from './options.ts';

const TEXT = `Usage: ./sluice check [--json] [gateway.yaml]

Checks a configuration and prints every problem as file:line:column: path: what was found; how to fix.
Needs no device, no root and no network. Warnings are what is right and hardly meant; they change no exit status.

  --json  one object on standard output: {"file", "ok", "problems": [{"file", "line", "column", "path", "found", "fix"}],
          "warnings": [the same]}

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
  const parsed = json ? await readOrProblem(file) : await readConfig(file);
  const now = epochMs(Date.now());
  const over = 'config' in parsed ? expired(parsed.config, now).map(parsed.place) : [];
  const problems = 'problems' in parsed ? parsed.problems : over;
  const warnings = 'config' in parsed ? warningsOf(parsed.config).map(parsed.place) : [];
  if (json)
    process.stdout.write(`${JSON.stringify({ file, ok: problems.length === 0, problems, warnings })}\n`);
  if ('config' in parsed && over.length === 0) {
    if (!json) process.stderr.write(warnings.map((one) => `warning: ${formatProblem(one)}\n`).join(''));
    if (!json) process.stdout.write(`${file} is right: ${summary(parsed.config)}\n`);
    return 0;
  }
  if (!json) {
    process.stderr.write(
      `${problems.map(formatProblem).join('\n')}\n${counted(problems.length, 'problem')}\n`,
    );
  }
  return WRONG_CONFIGURATION;
}

function warningsOf(config: Config): readonly Finding[] {
  const declared = declare(config);
  return 'policy' in declared ? [...lint(config, declared.policy), ...endless(config)] : [];
}

/** A file that cannot be read is a problem too: a program that asked for JSON gets an answer. */
async function readOrProblem(file: string): Promise<Parsed | { readonly problems: readonly Problem[] }> {
  try {
    return await readConfig(file);
  } catch (error) {
    if (!(error instanceof SluiceError)) throw error;
    const { message: found, remedy: fix = '' } = error;
    return { problems: [{ file, line: 1, column: 1, path: '', found, fix }] };
  }
}

function summary({ devices, points, zones, conduits }: Config): string {
  return [
    counted(devices.length, 'device'),
    counted(points.length, 'point'),
    counted(zones.length, 'zone'),
    counted(conduits.length, 'conduit'),
  ].join(', ');
}
