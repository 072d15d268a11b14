import { version } from '../version.ts';

export async function run(args: readonly string[]): Promise<number> {
  if (args.includes('--help')) {
    process.stdout.write('Usage: ./sluice version [--json]\n');
    return 0;
  }
  const facts = { sluice: version(), node: process.versions.node };
  process.stdout.write(args.includes('--json') ? `${JSON.stringify(facts)}\n` : `sluice ${facts.sluice}\n`);
  return 0;
}
