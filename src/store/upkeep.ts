import { errorText } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import { isTrouble } from './open.ts';
import type { Store } from './store.ts';

/** What did not work is not tried with every commit. */
const TRY_AGAIN_MILLISECONDS = 60_000;
/** A file is worth shrinking when it is four times as large as what is in it. */
const WORTH_SHRINKING = 4;
/** Beside a copy of the file this must stay free, for the log and everybody else. */
const ROOM_BESIDE_COPY_BYTES = 16_777_216;
/** The index that is shared with other processes takes some pages; below this an attempt would be for nothing. */
const ROOM_FOR_READERS_BYTES = 1_048_576;

export interface UpkeepOptions {
  /** A smaller file is never shrunk. */
  readonly shrinkFrom: number;
  readonly log: Log;
  /** A clock that never steps, in milliseconds. */
  readonly elapsed: () => number;
}

/** What the file needs now and then beside commits, while nothing else is wrong with it. */
export class Upkeep {
  readonly #options: UpkeepOptions;
  #notBefore = 0;
  #complained = false;

  constructor(options: UpkeepOptions) {
    this.#options = options;
  }

  /** True where the store was closed and has to be opened again, with everything in it. */
  closed(store: Store): boolean {
    if (this.#options.elapsed() < this.#notBefore) return false;
    if (store.file.exclusive) return this.#letOthersRead(store);
    if (store.logTooLong && !store.file.checkpoint()) return this.#move(store, 'read');
    return this.#worthShrinking(store) && this.#move(store, 'mostly free');
  }

  /** A file that was opened on a full disk can be read by nobody else, until it is opened again. */
  #letOthersRead(store: Store): boolean {
    this.#wait();
    if (store.file.spaceLeft < ROOM_FOR_READERS_BYTES) return false;
    store.close();
    return true;
  }

  #worthShrinking({ file }: Store): boolean {
    const { bytes, usedBytes } = file;
    return bytes >= this.#options.shrinkFrom && usedBytes * WORTH_SHRINKING < bytes;
  }

  #move({ file }: Store, why: 'read' | 'mostly free'): boolean {
    const { log } = this.#options;
    const facts = { file: file.name, bytes: file.bytes, used: file.usedBytes, log: file.logBytes };
    try {
      if (file.spaceLeft < facts.used + ROOM_BESIDE_COPY_BYTES) throw new NoRoom();
      file.moveToCopy();
    } catch (error) {
      if (!(error instanceof NoRoom) && !isTrouble(error)) throw error;
      this.#wait();
      if (why === 'read' && !this.#complained)
        log.warn('somebody reads the outbox for long, and its log grows until they stop', {
          ...facts,
          error: errorText(error),
        });
      this.#complained ||= why === 'read';
      return false;
    }
    this.#complained = false;
    if (why === 'read')
      log.warn('somebody reads the outbox for long: it goes on in a copy of the file', facts);
    else log.info('the file of the outbox was mostly free and is made smaller', facts);
    return true;
  }

  #wait(): void {
    this.#notBefore = this.#options.elapsed() + TRY_AGAIN_MILLISECONDS;
  }
}

class NoRoom extends Error {
  constructor() {
    super('the disk has no room for a copy');
  }
}
