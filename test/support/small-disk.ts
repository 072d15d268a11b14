import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Mounting a small disk takes root; under CI it has to be possible. */
export function cannotMount(): string | false {
  if (process.getuid?.() === 0 && spawnSync('sh', ['-c', 'command -v mount']).status === 0) return false;
  const says = 'a small disk can only be mounted by root; run the tests as root to see the full disk';
  if (process.env['CI'] === 'true') throw new Error(says);
  return says;
}

/** A tmpfs at `path`, which is made; unmount it at the end. */
export function mountSmallDisk(path: string, megabytes: number): { unmount(): void } {
  mkdirSync(path, { recursive: true });
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', path], {
    encoding: 'utf8',
  });
  if (mounted.status !== 0) throw new Error(`mount: ${mounted.stderr}`);
  return { unmount: () => spawnSync('umount', ['-l', path]) };
}

/** Takes all space of the disk at `path` but `left` bytes; answers the file to remove. */
export function fillDisk(path: string, left: number, name = 'stone'): string {
  const stone = join(path, name);
  for (;;) {
    const { bavail, bsize } = statfsSync(path);
    try {
      writeFileSync(stone, Buffer.alloc(Math.max(0, bavail * bsize - left)));
      return stone;
    } catch (error) {
      // Whoever else writes here was quicker: what is left is counted again.
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error;
      rmSync(stone, { force: true });
    }
  }
}
