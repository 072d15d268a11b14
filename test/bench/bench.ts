// npm run bench: what the gateway does with a load, beside a named baseline in the same run. README.md explains it.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { acquire } from './acquire.ts';
import { drain } from './drain.ts';
import { guarding } from './guard.ts';
import { sizeAtRest } from './history-at-rest.ts';
import { flatOut } from './history-flat-out.ts';
import { ingest } from './history-ingest.ts';
import { retention } from './history-retention.ts';
import { written } from './history-written.ts';
import { year } from './history-year.ts';
import { oneDead } from './one-dead.ts';
import { Bench, type Result } from './scenario.ts';
import { applying } from './segmentation-apply.ts';
import { perPacket } from './segmentation-packet.ts';
import { reloading } from './segmentation-reload.ts';
import { table } from './table.ts';
import { filtered, wholePath } from './whole-path.ts';

const GATEWAY = [acquire, wholePath, filtered, oneDead, drain];
const HISTORY = [ingest, flatOut, sizeAtRest, written, year, retention];
const SEGMENTATION = [perPacket, applying, reloading, guarding];
const SCENARIOS = [...GATEWAY, ...HISTORY, ...SEGMENTATION];
const DEFAULT_SECONDS = 20;
const USAGE = 64; // sysexits.h, as the gateway's own command line

function usage(): string {
  const width = Math.max(...SCENARIOS.map(({ name }) => name.length));
  return [
    'Usage: npm run bench -- [scenario ...] [options]',
    '',
    ...SCENARIOS.map(({ name, about }) => `  ${name.padEnd(width)}  ${about}`),
    '',
    `  --seconds N    length of a measured window, at least 2; default ${DEFAULT_SECONDS}`,
    '  --full         drain, at-rest, written, packet and reload with more',
    '  --json         one JSON array instead of the tables',
    '  --profile DIR  the gateway writes a CPU profile of each run there',
    '',
  ].join('\n');
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      seconds: { type: 'string', default: `${DEFAULT_SECONDS}` },
      full: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      profile: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  const seconds = Number(values.seconds);
  const unknown = positionals.find((name) => !SCENARIOS.some((scenario) => scenario.name === name));
  if (values.help || unknown !== undefined || !(seconds >= 2)) {
    process.stderr.write(usage());
    return values.help ? 0 : USAGE;
  }

  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  const dir = mkdtempSync(join(tmpdir(), 'sluice-bench-'));
  // Also where an error that nobody foresaw ends the process; the children are killed the same way, before.
  process.once('exit', () => rmSync(dir, { recursive: true, force: true }));
  const bench = new Bench({ dir, seconds, full: values.full, profile: values.profile, signal: stop.signal });
  const results: Result[] = [];
  let failed = false;
  for (const scenario of SCENARIOS) {
    if (positionals.length > 0 && !positionals.includes(scenario.name)) continue;
    process.stderr.write(`${scenario.name}: ${scenario.about} …\n`);
    try {
      const result = await scenario.run(bench);
      results.push(result);
      failed ||= result.faults.length > 0;
      if (!values.json) process.stdout.write(`\n${table(result)}\n`);
    } catch (error) {
      if (stop.signal.aborted) break;
      failed = true;
      process.stderr.write(`${scenario.name}: ${error instanceof Error ? error.stack : String(error)}\n`);
    }
  }
  if (values.json) process.stdout.write(`${JSON.stringify(results, undefined, 2)}\n`);
  return failed || stop.signal.aborted ? 1 : 0;
}

process.exitCode = await main();
