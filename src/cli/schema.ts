import { gatewayJsonSchema } from '../config/json-schema.ts';
import { HELP, JSON_TOO, parsedOptions, usage } from './options.ts';

const TEXT = `Usage: ./sluice schema

Prints the JSON Schema (draft 2020-12) of gateway.yaml. An editor uses it where the file begins with
# yaml-language-server: $schema=./gateway.schema.json
`;

export async function run(args: readonly string[]): Promise<number> {
  // JSON either way; --json is taken because every other command that prints for a program takes it.
  const { values, positionals } = parsedOptions('schema', args, { ...HELP, ...JSON_TOO });
  if (values.help) {
    process.stdout.write(TEXT);
    return 0;
  }
  if (positionals.length > 0)
    throw usage('schema', 'schema takes no argument: it is the same for every file');
  process.stdout.write(gatewayJsonSchema());
  return 0;
}
