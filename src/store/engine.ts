import type { Batch } from '../core/batch.ts';
import { SluiceError, errorText } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { Lane, OutboxState } from '../core/outbox.ts';
import { setAside } from './damage.ts';
import { type Gap, withGap } from './gaps.ts';
import type { StoredRow, Wanted } from './journal.ts';
import { isDamage, isFull, isTrouble } from './open.ts';
import type { Reply, Unread, WorkerOptions } from './protocol.ts';
import { RecentRows } from './recent.ts';
import type { Queue } from './cursor.ts';
import { type Committed, type Entry, type Store, openStore } from './store.ts';
import { TELEMETRY } from './schema.ts';
import type { ThreadReply } from './thread.ts';
import { type Group, MAX_WAITING_BYTES, Waiting } from './waiting.ts';

/** What each lane hands out, in order, and of which rows. */
const QUEUES: Record<Lane, readonly (readonly [Queue, Wanted])[]> = {
  live: [
    ['events', 'events'],
    ['live', 'all'],
  ],
  history: [['history', 'telemetry']],
};
const FREE_SPACE = 'free space on the disk of gateway.data; writing resumes by itself';
const FIRST_RETRY_MILLISECONDS = 250;
const LONGEST_RETRY_MILLISECONDS = 5_000;
const SPARE_ROOM_EVERY_MILLISECONDS = 60_000;
const COMMIT_AT_ONCE_BYTES = 1_048_576;
/** What remains after giving up, so that it happens rarely. */
const KEPT_WAITING_BYTES = MAX_WAITING_BYTES * 0.9;

/** A row that was read; its text is nobody else's unless it is `kept`. */
export interface ReadRow extends StoredRow {
  readonly kept: boolean;
}

/** Decides when to commit, what to do when the disk refuses, and who gets to know. Lives in the store's thread. */
export class Engine {
  readonly #options: WorkerOptions;
  readonly #log: Log;
  readonly #tell: (reply: Reply | ThreadReply) => void;
  readonly #waiting: Waiting;
  readonly #recent = new RecentRows();
  #store: Store;
  /** Numbers that were given and will never be on disk. */
  #gaps: readonly Gap[] = [];
  #timer: NodeJS.Timeout | undefined;
  #due = Number.POSITIVE_INFINITY;
  #failing: string | null = null;
  /** What was found in the file that is closed and not yet replaced. */
  #damage: string | undefined;
  #retry = FIRST_RETRY_MILLISECONDS;
  /** Rows that nobody needs were left for another commit. */
  #trimDue = false;
  #commits = 0;
  #samplesCommitted = 0;
  #samplesLost = 0;
  #messagesDropped = 0;
  /** The spare room was given up since it was last complete. */
  #onSpareRoom = false;
  #spareRoomAt = 0;

  /** Throws what `openStore` throws. */
  constructor(options: WorkerOptions, log: Log, tell: (reply: Reply | ThreadReply) => void) {
    this.#options = options;
    this.#log = log;
    this.#tell = tell;
    this.#waiting = new Waiting(options.points);
    this.#store = openStore({ ...options, log });
  }

  append(id: number, batch: Batch): void {
    try {
      this.#waiting.add(id, batch);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      const failure = { code: 'STORE_FAILED', message: error.message, remedy: undefined } as const;
      this.#tell({ type: 'failed', ids: [id], failure });
      return;
    }
    this.#schedule(this.#waiting.collected >= COMMIT_AT_ONCE_BYTES ? 0 : this.#options.commitEvery);
    if (this.#failing !== null) this.#bound();
  }

  event(id: number, topic: string, payload: string): void {
    this.#waiting.addEvent(id, topic, payload);
    this.#schedule(0);
    if (this.#failing !== null) this.#bound();
  }

  /** Samples that never arrived here get a number of their own, so that they can be told. */
  lost(samples: number, reason: string): void {
    this.#samplesLost += samples;
    const seq = this.#store.nextSeq++;
    this.#gaps = withGap(this.#gaps, { from: seq, to: seq, reason });
    this.#schedule(this.#options.commitEvery);
  }

  consumer(name: string, note: string | undefined): Unread {
    const known = this.#store.consumers.get(name);
    if (known === undefined) {
      if (this.#store.consumers.size === 0)
        this.#discard(); // what came before a consumer is not promised to it
      else this.#commitAll();
      this.#store.addConsumer(name, note ?? '', Date.now());
    } else if (note !== undefined) known.note = note;
    this.#commitAll();
    return this.#unread(this.#entry(name));
  }

  consumers(): { name: string; note: string; since: number }[] {
    return [...this.#store.consumers].map(([name, { note, since }]) => ({ name, note, since }));
  }

  forget(name: string): void {
    this.#store.forget(name);
    this.#commitAll();
    this.#trimLater();
  }

  rewind(name: string): Unread {
    const entry = this.#entry(name);
    entry.cursor.rewind(this.#store.journal.head);
    this.#schedule(this.#options.commitEvery);
    return this.#unread(entry);
  }

  acknowledge(name: string, lane: Lane, rows: readonly number[]): void {
    const entry = this.#store.consumers.get(name);
    if (entry === undefined) return; // forgotten while the acknowledgement was on its way
    for (const row of rows) entry.cursor.acknowledge(lane, row);
    this.#schedule(this.#options.commitEvery);
  }

  read(name: string, lane: Lane, limit: number): { rows: ReadRow[]; unread: Unread } {
    const entry = this.#entry(name);
    const rows: ReadRow[] = [];
    try {
      if (this.#damage === undefined) this.#collect(entry, lane, limit, rows);
    } catch (error) {
      this.#trouble(error, 'read');
    }
    return { rows, unread: this.#unread(entry) };
  }

  state(): OutboxState {
    return {
      rows: this.#store.journal.rows,
      bytes: this.#store.journal.bytes,
      nextSeq: this.#store.nextSeq,
      commits: this.#commits,
      samplesCommitted: this.#samplesCommitted,
      samplesLost: this.#samplesLost,
      messagesDropped: this.#messagesDropped,
      failing: this.#failing,
    };
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#due = Number.NEGATIVE_INFINITY;
    this.#commitAll();
    this.#seal();
    this.#giveUp(this.#waiting.giveUp(-1));
    this.#store.close();
  }

  #entry(name: string): Entry {
    const entry = this.#store.consumers.get(name);
    if (entry === undefined)
      throw new SluiceError('STORE_FAILED', `the outbox keeps nothing for ${name}: it was forgotten`);
    return entry;
  }

  #unread({ cursor }: Entry): Unread {
    const head = this.#store.journal.head;
    return {
      live: QUEUES.live.some(([queue]) => cursor.unread(queue, head).length > 0),
      history: cursor.unread('history', head).length > 0,
    };
  }

  #collect({ cursor }: Entry, lane: Lane, limit: number, rows: ReadRow[]): void {
    const { journal } = this.#store;
    let bytes = 0;
    for (const [queue, wanted] of QUEUES[lane])
      while (bytes < limit) {
        const [range] = cursor.unread(queue, journal.head);
        if (range === undefined) break;
        const recent = this.#recent.read(range, limit - bytes, wanted);
        const { rows: found, broken } = recent
          ? { rows: recent, broken: undefined }
          : journal.read(range, limit - bytes, wanted);
        for (const row of found) {
          rows.push({ ...row, kept: recent !== undefined });
          bytes += row.text.length;
        }
        const seen = broken === undefined ? range[1] : broken - 1;
        const ids = found.map(({ id }) => id);
        cursor.hand(queue, ids, bytes >= limit ? (ids.at(-1) ?? seen) : seen);
        if (broken === undefined) continue;
        this.#dropBroken(broken); // before the cursor passes it: where it cannot be told it must stay
        cursor.hand(queue, [], broken);
      }
  }

  #dropBroken(row: number): void {
    const { messages, gaps } = this.#store.dropBroken(row);
    this.#log.error('a row of the outbox cannot be read and is given up', { row, messages });
    this.#messagesDropped += messages;
    this.#gaps = gaps.reduce(withGap, this.#gaps);
    this.#schedule(0);
  }

  #schedule(milliseconds: number): void {
    const due = performance.now() + milliseconds;
    if (due >= this.#due || (this.#failing !== null && this.#timer !== undefined)) return;
    clearTimeout(this.#timer);
    this.#due = due;
    this.#timer = setTimeout(() => this.#tick(), milliseconds);
  }

  #tick(): void {
    this.#timer = undefined;
    this.#due = Number.POSITIVE_INFINITY;
    this.#commitAll();
  }

  #trimLater(): void {
    this.#schedule(this.#options.commitEvery);
    this.#trimDue = true;
  }

  #seal(): void {
    this.#store.nextSeq = this.#waiting.seal(this.#store.nextSeq);
  }

  /** Commits until nothing waits or the disk refuses. */
  #commitAll(): void {
    if (this.#store.consumers.size === 0) this.#discard();
    else this.#seal();
    try {
      if (this.#damage !== undefined) this.#reopen(this.#damage);
      if (this.#store.removed) this.#putBack();
      if (!this.#workLeft()) return;
      do this.#commitOnce();
      while (!this.#waiting.empty);
      this.#recovered();
    } catch (error) {
      this.#trouble(error, 'write');
    }
  }

  #workLeft(): boolean {
    if (!this.#waiting.empty || this.#gaps.length > 0 || this.#trimDue) return true;
    return this.#failing !== null || this.#store.dirty;
  }

  #commitOnce(): void {
    const groups = this.#waiting.oldest(this.#failing === null ? undefined : 0); // a little may fit where much does not
    const result = this.#commitGroups(groups);
    this.#waiting.remove(groups);
    this.#gaps = [];
    this.#commits++;
    this.#messagesDropped += result.droppedMessages;
    for (const { samples } of groups) this.#samplesCommitted += samples;
    if (result.droppedMessages > 0) this.#recent.clear(); // what was told as dropped does not come after all
    this.#recent.add(result.rows);
    this.#tell({ type: 'settled', ids: groups.flatMap(({ appends }) => appends) });
    if (result.rows.length > 0) this.#tell({ type: 'grown' });
    this.#trimDue = false;
    if (result.more) this.#trimLater();
    if (result.droppedMessages > 0)
      this.#log.warn('the outbox is full: the oldest messages were given up', {
        messages: result.droppedMessages,
        limit: this.#options.limit,
      });
  }

  /** Where the disk is full, room is made of what is ours: first of the log, then of the spare room. */
  #commitGroups(groups: readonly Group[]): Committed {
    const rows = groups.flatMap((group) => group.rows);
    const reliefs = [undefined, () => this.#store.checkpoint(), () => this.#useSpareRoom()];
    let full: unknown;
    for (const relief of reliefs) {
      if (relief !== undefined && !relief()) continue;
      try {
        const result = this.#store.commit(rows, this.#gaps, Date.now());
        this.#lookForSpareRoom(relief === undefined ? SPARE_ROOM_EVERY_MILLISECONDS : 0);
        return result;
      } catch (error) {
        if (!isFull(error)) throw error;
        full = error;
      }
    }
    throw full;
  }

  #useSpareRoom(): boolean {
    if (!this.#store.useSpareRoom()) return false;
    if (!this.#onSpareRoom) {
      const facts = { file: this.#options.file, remedy: FREE_SPACE };
      this.#log.warn('the disk is full: the outbox goes on in its spare room', facts);
    }
    this.#onSpareRoom = true;
    return true;
  }

  /** What was given up of it is taken again when there is room, after so long. */
  #lookForSpareRoom(milliseconds: number): void {
    const now = performance.now();
    if (now < this.#spareRoomAt + milliseconds || this.#store.hasSpareRoom) return;
    this.#spareRoomAt = now;
    this.#store.takeSpareRoom();
    if (!this.#onSpareRoom || !this.#store.hasSpareRoom) return;
    this.#onSpareRoom = false;
    this.#log.info('the outbox has its spare room again');
  }

  /** No consumer: nobody was promised anything, so nothing is kept. */
  #discard(): void {
    const { appends, samples } = this.#waiting.clear();
    this.#samplesCommitted += samples;
    if (appends.length > 0) this.#tell({ type: 'settled', ids: appends });
  }

  #recovered(): void {
    if (this.#failing === null) return;
    this.#log.info('the outbox writes again', { lost: this.#samplesLost });
    this.#failing = null;
    this.#retry = FIRST_RETRY_MILLISECONDS;
  }

  #trouble(error: unknown, what: 'read' | 'write'): void {
    if (isDamage(error)) {
      this.#replaceStore(error);
      return;
    }
    if (!isTrouble(error)) throw error;
    const sentence = `cannot ${what} ${this.#options.file}: ${errorText(error)}; free space or replace the disk`;
    if (this.#failing === null) this.#log.error('the outbox is failing and tries again', { sentence });
    this.#failing = sentence;
    this.#schedule(this.#retry);
    this.#retry = Math.min(this.#retry * 2, LONGEST_RETRY_MILLISECONDS);
    this.#bound();
  }

  #bound(): void {
    if (this.#waiting.collected >= COMMIT_AT_ONCE_BYTES) this.#seal();
    if (this.#waiting.bytes <= MAX_WAITING_BYTES) return;
    this.#seal();
    this.#giveUp(this.#waiting.giveUp(KEPT_WAITING_BYTES));
  }

  #giveUp(groups: readonly Group[]): void {
    for (const { kind, rows, samples, appends } of groups) {
      this.#samplesLost += samples;
      for (const { firstSeq, lastSeq } of kind === TELEMETRY ? rows : [])
        this.#gaps = withGap(this.#gaps, { from: firstSeq, to: lastSeq, reason: 'disk full' });
      const message = `${samples} samples were given up: ${this.#failing ?? 'the outbox was closed'}`;
      const remedy = FREE_SPACE;
      this.#tell({ type: 'failed', ids: appends, failure: { code: 'OUTBOX_FULL', message, remedy } });
    }
  }

  /** The file is broken: set it aside, go on in a new one with the same consumers and the same numbers. */
  #replaceStore(error: unknown): void {
    this.#store.close();
    this.#damage = errorText(error);
    this.#commitAll();
  }

  #putBack(): void {
    const { file } = this.#options;
    if (this.#failing === null) this.#log.error('the outbox database was removed and is put back', { file });
    const before = this.#store;
    before.putBack();
    this.#store = openStore({ ...this.#options, log: this.#log });
    this.#store.continueFrom(before);
  }

  #reopen(found: string): void {
    const { file } = this.#options;
    const { nextSeq, consumers, journal } = this.#store;
    const firstWaiting = this.#waiting.firstSeq() ?? nextSeq;
    const aside = setAside(file, new Date());
    this.#log.error('the outbox database is damaged; set aside, a new one is opened', { file, aside, found });
    this.#recent.clear();
    const survivors = { nextSeq, firstWaiting, head: journal.head, consumers };
    this.#store = openStore({ ...this.#options, log: this.#log }, survivors);
    this.#damage = undefined;
    this.#tell({ type: 'grown' });
  }
}
