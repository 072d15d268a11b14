import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import { FORMATS } from '../../src/export/encoder.ts';

/** A full run has fifty times as many. */
const MANY = Number(process.env['EXPORT_SAMPLES'] ?? 1_500_000);
const FEW = 400_000;
/** Garbage that was not collected yet; who kept 60 bytes of each further sample would take more. */
const ALLOWED_MB = 64;

interface Run {
  readonly samples: number;
  readonly bytes: number;
  readonly megabytes: number;
  readonly seconds: number;
}

function isRun(said: unknown): said is Run {
  return typeof said === 'object' && said !== null && 'megabytes' in said;
}

function exported(format: string, samples: number): Run {
  // The launcher's settings; and garbage is collected by the thread that makes it, however busy the machine is.
  const args = [
    '--max-semi-space-size=4',
    '--heap-growing-percent=30',
    '--single-threaded-gc',
    join(import.meta.dirname, 'exporting-child.ts'),
    format,
    String(samples),
  ];
  const said: unknown = JSON.parse(
    execFileSync(process.execPath, args, { encoding: 'utf8', env: { ...process.env, NODE_OPTIONS: '' } }),
  );
  if (!isRun(said)) throw new Error('no figures');
  return said;
}

for (const format of FORMATS)
  t.test(`an export as ${format} takes no more memory for more samples`, async (t) => {
    const few = exported(format, FEW);
    const many = exported(format, MANY);

    t.equal(many.samples, MANY);
    t.ok(many.bytes > few.bytes * (MANY / FEW) * 0.8);
    const grown = many.megabytes - few.megabytes;
    t.ok(grown < ALLOWED_MB, `${few.megabytes.toFixed(0)} MB, then ${many.megabytes.toFixed(0)} MB`);
  });
