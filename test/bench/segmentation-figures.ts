import { closeSync, openSync, readFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { Child } from './child.ts';
import type { Bench, Result } from './scenario.ts';

const LIMIT_SECONDS = 900; // of a step that hangs, on a machine that does much else
let runs = 0;

export function median(figures: readonly number[]): number {
  const sorted = figures.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const [low = Number.NaN, high = Number.NaN] = [sorted[sorted.length - 1 - middle], sorted[middle]];
  return (low + high) / 2;
}

/** A scenario that cannot be run here says why, and fails nothing. */
export const skipped = (scenario: string, reason: string): Result => ({
  scenario,
  load: `skipped: ${reason}`,
  spreadOf: '',
  rows: [],
  notes: [],
  faults: [],
});

/** Whoever reads a time has to know how busy the machine was. */
export const loadAverage = (): string =>
  `load average ${loadavg()
    .map((load) => load.toFixed(1))
    .join(', ')}`;

/** The JSON that a program beside this one tells, started through another one. */
export async function outputIn(
  bench: Bench,
  through: string,
  options: readonly string[],
  file: string,
  args: readonly string[],
): Promise<unknown> {
  const path = join(bench.directory(`${file}-${(runs += 1)}`), 'out');
  const out = openSync(path, 'w');
  await using child = new Child({
    name: file,
    command: through,
    args: [...options, process.execPath, new URL(file, import.meta.url).pathname, ...args],
    stdout: out,
  });
  closeSync(out);
  let ended = false;
  void child.exited.then(() => (ended = true));
  await bench.until(file, () => ended, LIMIT_SECONDS);
  const said = readFileSync(path, 'utf8');
  if (said === '') throw child.failure();
  return JSON.parse(said);
}
