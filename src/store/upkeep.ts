import { Mover, type MoverOptions } from './mover.ts';
import type { Store } from './store.ts';

/** What did not work is not tried with every commit. */
const TRY_AGAIN_MILLISECONDS = 60_000;
/** A file is worth shrinking when it is four times as large as what is in it. */
const WORTH_SHRINKING = 4;
/** The index that is shared with other processes takes some pages; below this an attempt would be for nothing. */
const ROOM_FOR_READERS_BYTES = 1_048_576;

export interface UpkeepOptions extends Omit<MoverOptions, 'what'> {
  /** A smaller file is never shrunk. */
  readonly shrinkFrom: number;
}

/** What the file needs now and then beside commits, while nothing else is wrong with it. */
export class Upkeep {
  readonly #options: UpkeepOptions;
  readonly #mover: Mover;
  #notBefore = 0;

  constructor(options: UpkeepOptions) {
    this.#options = options;
    this.#mover = new Mover({ ...options, what: 'outbox' });
  }

  /** True where the store was closed and has to be opened again, with everything in it. */
  closed(store: Store): boolean {
    const { file } = store;
    if (file.exclusive) return this.#letOthersRead(store);
    if (this.#mover.waits) return false;
    if (store.logTooLong && !file.checkpoint()) return this.#mover.move(file, 'read');
    return this.#worthShrinking(store) && this.#mover.move(file, 'mostly free');
  }

  /** A file that was opened on a full disk can be read by nobody else, until it is opened again. */
  #letOthersRead(store: Store): boolean {
    const now = this.#options.elapsed();
    if (now < this.#notBefore) return false;
    this.#notBefore = now + TRY_AGAIN_MILLISECONDS;
    if (store.file.spaceLeft < ROOM_FOR_READERS_BYTES) return false;
    store.close();
    return true;
  }

  #worthShrinking({ file }: Store): boolean {
    const { bytes, usedBytes } = file;
    return bytes >= this.#options.shrinkFrom && usedBytes * WORTH_SHRINKING < bytes;
  }
}
