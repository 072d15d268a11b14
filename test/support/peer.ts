import { spawnSync } from 'node:child_process';

/** Daemons such as mosquitto are in sbin, where Debian lets nobody but root look: not there is not the same. */
const SBIN = ['/usr/local/sbin', '/usr/sbin', '/sbin'];
process.env['PATH'] = [...new Set([...(process.env['PATH'] ?? '').split(':'), ...SBIN])].join(':');

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
