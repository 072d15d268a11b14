import { randomFillSync } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  openSync,
  rmSync,
  statSync,
  statfsSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { isFull } from './open.ts';

const CHUNK_BYTES = 1_048_576;

/**
 * Room on the disk that is given back when there is none left. Without it an outbox that filled its own disk could not
 * even delete what was delivered: the log can only be copied back where the database may grow.
 */
export class SpareRoom {
  readonly #file: string;
  #wanted: number;

  constructor(file: string, wanted: number) {
    this.#file = file;
    this.#wanted = wanted;
  }

  /** Another size, with the next `take`. */
  want(bytes: number): void {
    this.#wanted = bytes;
  }

  get complete(): boolean {
    return this.#held() >= this.#wanted;
  }

  /** Takes what it wants, or half of what there is: the other half is for the log. Never fails; takes less. */
  take(): void {
    const held = this.#held();
    try {
      if (held > this.#wanted) truncateSync(this.#file, this.#wanted);
      const { bavail, bsize } = statfsSync(dirname(this.#file));
      const target = Math.min(this.#wanted, Math.floor((held + bavail * bsize) / 2));
      if (target > held) grow(this.#file, target - held);
    } catch {
      // A disk that takes nothing more; what was taken before it said so counts.
    }
  }

  /** Takes all that it wants, as far as the disk has it: what was lent comes first. Never fails; takes less. */
  refill(): void {
    this.restore(this.#wanted - this.#held());
  }

  /** Bytes that are free now; 0 where there were none. */
  release(): number {
    const held = this.#held();
    rmSync(this.#file, { force: true });
    return held;
  }

  /** Takes back what `release` gave, before anybody else can; less where the disk has less. */
  restore(bytes: number): void {
    if (bytes <= 0) return;
    try {
      grow(this.#file, bytes);
    } catch {
      // What was taken counts.
    }
  }

  #held(): number {
    return statSync(this.#file, { throwIfNoEntry: false })?.size ?? 0;
  }
}

/**
 * Does the disk take so much, whatever the file system says that it has? Tried with a file that has no name any more
 * when it grows, so that no crash leaves it.
 */
export function takes(folder: string, bytes: number): boolean {
  const path = join(folder, 'history.probe');
  const file = openSync(path, 'w', 0o600);
  try {
    rmSync(path, { force: true });
    fill(file, bytes);
    return true;
  } catch (error) {
    if (!isFull(error)) throw error;
    return false;
  } finally {
    closeSync(file);
  }
}

function grow(path: string, bytes: number): void {
  const file = openSync(path, 'a', 0o600);
  try {
    fill(file, bytes);
  } finally {
    closeSync(file);
  }
}

/** What cannot be compressed, and is really on the disk: some file systems keep neither zeros nor promises. */
function fill(file: number, bytes: number): void {
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  for (let left = bytes; left > 0; left -= CHUNK_BYTES)
    writeSync(file, randomFillSync(chunk), 0, Math.min(left, CHUNK_BYTES));
  fsyncSync(file);
}
