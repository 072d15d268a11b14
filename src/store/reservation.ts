import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

/** Sequence numbers below `upto` may have been sent; the database alone knows which. */
export interface Reserved {
  /** The next number on disk when the reservation was made: a database that is behind it is an old copy. */
  readonly from: number;
  readonly upto: number;
  /** Nothing below this number was waiting then. */
  readonly kept: number;
}

const BLOCK = 100_000;

/**
 * A small file beside the database that outlives it. It is written before numbers of a new block are used, so that
 * after the loss of the database no number is ever used for other content.
 */
export class Reservation {
  readonly #file: string;
  #upto = 0;

  constructor(file: string) {
    this.#file = file;
  }

  /** Undefined where there is none or it cannot be understood. */
  load(): Reserved | undefined {
    let found: unknown;
    try {
      found = JSON.parse(readFileSync(this.#file, 'utf8'));
    } catch {
      return undefined;
    }
    if (typeof found !== 'object' || found === null) return undefined;
    const { from, upto, kept } = { from: Number.NaN, upto: Number.NaN, kept: Number.NaN, ...found };
    if (![from, upto, kept].every((n) => Number.isSafeInteger(n) && n >= 0)) return undefined;
    this.#upto = upto;
    return { from, upto, kept };
  }

  /**
   * Makes sure that `next` and what follows soon is reserved. Half a block ahead, so that a full disk is noticed
   * here only when the journal has long noticed it. Throws what the file system says.
   */
  cover(next: number, { from, kept }: { readonly from: number; readonly kept: number }): void {
    if (next + BLOCK / 2 <= this.#upto) return;
    try {
      this.#write({ from, upto: next + BLOCK, kept });
    } catch (error) {
      if (next >= this.#upto) throw error;
    }
  }

  #write(reserved: Reserved): void {
    const next = `${this.#file}.new`;
    const file = openSync(next, 'w', 0o600);
    try {
      writeSync(file, `${JSON.stringify(reserved)}\n`);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(next, this.#file);
    const directory = openSync(dirname(this.#file), 'r');
    try {
      fsyncSync(directory);
    } finally {
      closeSync(directory);
    }
    this.#upto = reserved.upto;
  }
}
