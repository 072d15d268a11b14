import { spawnSync } from 'node:child_process';
import { missingPeer } from './peer.ts';

/** Root of this machine, or root of a user namespace of its own: where neither is permitted, tests say so. */
const UNSHARE = ['unshare', process.getuid?.() === 0 ? '-n' : '-rn'] as const;

export interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a shell script with arguments ("$1" ...) in a network namespace of its own, which is gone when it ends. */
export function inNamespace(script: string, ...args: readonly string[]): Ran {
  const [program, ...options] = UNSHARE;
  const { status, stdout, stderr } = spawnSync(program, [...options, 'sh', '-euc', script, 'sh', ...args], {
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  return { status, stdout, stderr };
}

/** Why no rules can be loaded here; false where they can. */
export function noRules(): string | false {
  const missing = missingPeer('nft', 'nftables');
  if (missing !== false) return missing;
  const { status, stderr } = inNamespace('nft add table inet sluice_probe');
  return status === 0 ? false : `no network namespace with nftables here: ${stderr.trim()}`;
}
