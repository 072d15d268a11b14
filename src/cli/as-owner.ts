import { type Stats, lstatSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { SluiceError } from '../core/errors.ts';
import { loadSqlite } from '../store/open.ts';
import { shellWord } from '../core/shell-word.ts';

/**
 * Where an administrator works in a folder of another user, the rest is done as that user, for good: root would follow
 * every link that the user puts in the way meanwhile. What is made belongs to that user, then.
 */
export function becomeOwner(folder: string, command: string): void {
  if (process.geteuid?.() !== 0) return;
  const owner = ownerOf(folder);
  if (owner === undefined) return;
  const { uid, gid } = owner;
  loadSqlite(); // Sluice may lie where that user may not read
  try {
    process.setgroups?.([gid]);
    process.setgid?.(gid);
    process.setuid?.(uid);
  } catch (cause) {
    throw new SluiceError(
      'SETUP',
      `${folder} belongs to user ${uid}, and this process may not become that one`,
      {
        cause,
        remedy: `run sudo -u ${shellWord(`#${uid}`)} ./sluice ${command}; nothing was touched`,
      },
    );
  }
}

/** Of the folder, or of the one that it will be made in, who is not root; of a link also who made it. */
function ownerOf(folder: string): Stats | undefined {
  for (let path = folder; ; path = dirname(path)) {
    const link = lstatSync(path, { throwIfNoEntry: false });
    if (link === undefined && dirname(path) !== path) continue;
    return [link, statSync(path, { throwIfNoEntry: false })].find(
      (one) => one !== undefined && one.uid !== 0,
    );
  }
}
