import { version } from '../version.ts';
import { HELP, JSON_TOO, parsedOptions, usage } from './options.ts';

const TEXT = `Usage: ./sluice version [--json]

Prints the version.

  --json  {"sluice", "node"}: versions of this program and of its runtime
`;

export async function run(args: readonly string[]): Promise<number> {
  const { values, positionals } = parsedOptions('version', args, { ...HELP, ...JSON_TOO });
  if (values.help) {
    process.stdout.write(TEXT);
    return 0;
  }
  if (positionals.length > 0) throw usage('version', 'version takes no argument');
  const facts = { sluice: version(), node: process.versions.node };
  process.stdout.write(values.json ? `${JSON.stringify(facts)}\n` : `sluice ${facts.sluice}\n`);
  return 0;
}
