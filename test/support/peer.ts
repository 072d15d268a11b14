import { spawnSync } from 'node:child_process';

/**
 * Is a peer program there? Under CI its absence is a failure; elsewhere the test says what to install and is skipped
 * with that sentence.
 */
export function missingPeer(program: string, debianPackage: string): string | false {
  const found = spawnSync('sh', ['-c', `command -v ${program}`], { encoding: 'utf8' }).status === 0;
  if (found) return false;
  const says = `${program} is missing; install it with: apt-get install ${debianPackage}`;
  if (process.env['CI'] === 'true') throw new Error(says);
  return says;
}
