import { lstatSync, readFileSync, realpathSync, type Stats } from 'node:fs';
import { dirname } from 'node:path';

const OTHERS_WRITE = 0o022;
const STICKY = 0o1000;

/**
 * Who else could put something in the place of this file or folder: itself, and every folder above it, has to belong to
 * root or to this user and be closed to others; in a folder with the sticky bit others cannot rename what is not theirs.
 * Undefined where nobody can.
 */
export function whoElse(path: string): string | undefined {
  if (!rootIsRoot()) return undefined;
  let at = realpathSync(path);
  for (let inner = true; ; inner = false) {
    const found = lstatSync(at);
    const why = objection(found, inner);
    if (why !== undefined) return `${at} ${why}`;
    if (at === '/') return undefined;
    at = dirname(at);
  }
}

function objection({ uid, mode }: Stats, inner: boolean): string | undefined {
  if (uid !== 0 && uid !== process.getuid?.()) return `belongs to user ${uid}`;
  if ((mode & OTHERS_WRITE) === 0 || (!inner && (mode & STICKY) !== 0)) return undefined;
  return 'can be written by others';
}

/** In a user namespace everybody from outside looks like nobody: there is no telling root from others. */
function rootIsRoot(): boolean {
  try {
    return /^\s*0\s+0\s+4294967295\s*$/.test(readFileSync('/proc/self/uid_map', 'utf8'));
  } catch {
    return true;
  }
}
