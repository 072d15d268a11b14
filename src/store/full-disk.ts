import type { Log } from '../core/log.ts';
import { isFull } from './open.ts';
import type { Committed, Store } from './store.ts';

export const FREE_SPACE = 'free space on the disk of gateway.data; writing resumes by itself';
const SPARE_ROOM_EVERY_MILLISECONDS = 60_000;
/** Whoever can give something up hears of a full disk no more often. */
const TELL_EVERY_MILLISECONDS = 1_000;

export interface FullDiskOptions {
  readonly file: string;
  readonly log: Log;
  /** A clock that never steps, in milliseconds. */
  readonly elapsed: () => number;
  /** A commit met a full disk, and copying the write-ahead log back did not help. */
  readonly onFull: () => void;
}

/** Where the disk is full, room is made of what is ours: first of the write-ahead log, then of the spare room. */
export class FullDisk {
  readonly #options: FullDiskOptions;
  /** The spare room was given up since it was last complete. */
  #onSpareRoom = false;
  #lookedAt = 0;
  #toldAt = Number.NEGATIVE_INFINITY;

  constructor(options: FullDiskOptions) {
    this.#options = options;
  }

  /** Throws what the last try threw. */
  commit(store: Store, attempt: () => Committed): Committed {
    const reliefs = [undefined, () => store.file.checkpoint(), () => this.#useSpareRoom(store)];
    let full: unknown;
    for (const relief of reliefs) {
      if (relief !== undefined && !relief()) continue;
      try {
        const result = attempt();
        this.#lookForSpareRoom(store, relief === undefined ? SPARE_ROOM_EVERY_MILLISECONDS : 0);
        return result;
      } catch (error) {
        if (!isFull(error)) throw error;
        full = error;
      }
    }
    this.#tell();
    throw full;
  }

  #tell(): void {
    const now = this.#options.elapsed();
    if (now < this.#toldAt + TELL_EVERY_MILLISECONDS) return;
    this.#toldAt = now;
    this.#options.onFull();
  }

  #useSpareRoom(store: Store): boolean {
    if (!store.useSpareRoom()) return false;
    this.#tell(); // it lasts for a while only, and is taken again when there is room
    if (!this.#onSpareRoom) {
      const facts = { file: this.#options.file, remedy: FREE_SPACE };
      this.#options.log.warn('the disk is full: the outbox goes on in its spare room', facts);
    }
    this.#onSpareRoom = true;
    return true;
  }

  /** What was given up of it is taken again when there is room, after so long. */
  #lookForSpareRoom(store: Store, milliseconds: number): void {
    const now = this.#options.elapsed();
    if (now < this.#lookedAt + milliseconds || store.hasSpareRoom) return;
    this.#lookedAt = now;
    store.takeSpareRoom();
    if (!this.#onSpareRoom || !store.hasSpareRoom) return;
    this.#onSpareRoom = false;
    this.#options.log.info('the outbox has its spare room again');
  }
}
