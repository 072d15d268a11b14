import { readFileSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { LOCK } from './lock.ts';

// Which nft were ours: nft monitor names processes by their numbers, and those of a command or of a guard belong to us as
// well as those of netd. Whoever holds the lock of the rules writes the number of its nft into the file of the lock.

/** A change is two loads, a roll back two more; what is older nobody is still told of. */
const KEPT = 16;
/** Numbers of processes have seven digits at most (PID_MAX_LIMIT); one line each, always as long. */
const WIDTH = 8;

/** `lock` is the descriptor of who holds it. On a full disk it is not written, and told as somebody else's. */
export function noteOwn(lock: number, pid: number): void {
  try {
    const kept = Buffer.alloc(KEPT * WIDTH);
    const length = readSync(lock, kept, 0, kept.length, 0);
    const numbers = [...numbersIn(kept.toString('latin1', 0, length)), pid].slice(-KEPT);
    writeSync(lock, numbers.map((one) => `${one}\n`.padStart(WIDTH)).join(''), 0, 'latin1');
  } catch {
    // As said above.
  }
}

/** Did this process change rules for us a moment ago? */
export function isOwn(folder: string, pid: number): boolean {
  try {
    return numbersIn(readFileSync(join(folder, LOCK), 'latin1')).includes(pid);
  } catch {
    return false;
  }
}

const numbersIn = (text: string): number[] =>
  text
    .split('\n')
    .map(Number)
    .filter((number) => number > 0);
