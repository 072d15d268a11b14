import { spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { SLUICE } from '../support/process.ts';

/** A command as a person gives it, from a folder that has nothing to do with it. */
export function sluice(...args: string[]): {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
} {
  const { status, stdout, stderr } = spawnSync(SLUICE, args, { encoding: 'utf8', cwd: tmpdir() });
  return { status, out: stdout, err: stderr };
}
