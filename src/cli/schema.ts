import { gatewayJsonSchema } from '../config/json-schema.ts';
import { SluiceError } from '../core/errors.ts';

const HELP = `Usage: ./sluice schema

Prints the JSON Schema (draft 2020-12) of gateway.yaml. An editor uses it where the file begins with
# yaml-language-server: $schema=./gateway.schema.json
`;

export async function run(args: readonly string[]): Promise<number> {
  if (args.includes('--help') || args.includes('-h')) {
    process.stdout.write(HELP);
    return 0;
  }
  if (args.some((arg) => arg !== '--json')) {
    throw new SluiceError('USAGE', `schema takes no argument ${args.join(' ')}`, {
      remedy: './sluice schema --help tells more',
    });
  }
  process.stdout.write(gatewayJsonSchema());
  return 0;
}
