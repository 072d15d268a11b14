import { errorText } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { StoreFile } from './file.ts';
import { isTrouble } from './open.ts';

/** What did not work is not tried with every commit. */
const TRY_AGAIN_MILLISECONDS = 60_000;
/** Beside a copy of the file this must stay free, for the log and everybody else. */
const ROOM_BESIDE_COPY_BYTES = 16_777_216;

export interface MoverOptions {
  /** As in "somebody reads the outbox for long". */
  readonly what: string;
  readonly log: Log;
  /** A clock that never steps, in milliseconds. */
  readonly elapsed: () => number;
}

/**
 * Lets files go on in copies of themselves: one that somebody reads for so long that its log grows without end, and one
 * that is mostly free. Whoever reads the old one keeps it alive, and alone.
 */
export class Mover {
  readonly #options: MoverOptions;
  #notBefore = 0;
  #complained = false;

  constructor(options: MoverOptions) {
    this.#options = options;
  }

  /** It was tried in vain a moment ago. */
  get waits(): boolean {
    return this.#options.elapsed() < this.#notBefore;
  }

  /** True where it was closed, and has to be opened again with everything in it. Throws what is no trouble of the disk. */
  move(file: StoreFile, why: 'read' | 'mostly free'): boolean {
    const { what, log, elapsed } = this.#options;
    if (this.waits) return false;
    const facts = { file: file.name, bytes: file.bytes, used: file.usedBytes, log: file.logBytes };
    try {
      if (file.spaceLeft < facts.used + ROOM_BESIDE_COPY_BYTES) throw new NoRoom();
      file.moveToCopy();
    } catch (error) {
      if (!(error instanceof NoRoom) && !isTrouble(error)) throw error;
      this.#notBefore = elapsed() + TRY_AGAIN_MILLISECONDS;
      if (why === 'read' && !this.#complained)
        log.warn(`somebody reads the ${what} for long, and its log grows until they stop`, {
          ...facts,
          error: errorText(error),
        });
      this.#complained ||= why === 'read';
      return false;
    }
    this.#complained = false;
    if (why === 'read')
      log.warn(`somebody reads the ${what} for long: it goes on in a copy of the file`, facts);
    else log.info(`the file of the ${what} was mostly free and is made smaller`, facts);
    return true;
  }
}

class NoRoom extends Error {
  constructor() {
    super('the disk has no room for a copy');
  }
}
