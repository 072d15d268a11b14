import { spawnSync } from 'node:child_process';

/** One line of the outcome: right where nothing is thrown; what is returned is told with it. */
export type Check = (name: string, act: () => Promise<string | void> | string | void) => Promise<void>;

export function be(condition: boolean, otherwise: string): void {
  if (!condition) throw new Error(otherwise);
}

/** What a shell script printed; throws with what it complained about. */
export function sh(script: string, ...args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync('sh', ['-euc', script, 'sh', ...args], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`status ${status}: ${stderr.trim() || stdout.trim()}`);
  return stdout;
}
