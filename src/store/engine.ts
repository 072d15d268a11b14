import type { Batch } from '../core/batch.ts';
import { SluiceError, errorText } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { Lane, OutboxState } from '../core/outbox.ts';
import { bytes } from '../core/units.ts';
import type { Outage } from '../telemetry/sample-log.ts';
import { Alarm } from './alarm.ts';
import { setAside } from './damage.ts';
import { FREE_SPACE, FullDisk } from './full-disk.ts';
import { type Gap, withGap } from './gaps.ts';
import { Gauge } from './gauge.ts';
import { type ReadRow, handOut, unreadBy } from './hand-out.ts';
import { signOfLife } from './log-table.ts';
import { isDamage, isTrouble } from './open.ts';
import { Outages } from './outages.ts';
import { MIN_LIMIT_BYTES, type Reply, type Unread, type WorkerOptions } from './protocol.ts';
import { RecentRows } from './recent.ts';
import type { Entry } from './places.ts';
import { type Earlier, type Store, openStore } from './store.ts';
import type { ThreadReply } from './thread.ts';
import { Upkeep } from './upkeep.ts';
import { type Group, MAX_WAITING_BYTES, Waiting } from './waiting.ts';

const FIRST_RETRY_MILLISECONDS = 250;
const LONGEST_RETRY_MILLISECONDS = 5_000;
const COMMIT_AT_ONCE_BYTES = 1_048_576;
/** What remains after giving up, so that it happens rarely. */
const KEPT_WAITING_BYTES = MAX_WAITING_BYTES * 0.9;
/** Reasons of outages. */
const DISK_FULL = 'disk full';
const NOT_FILED = 'history too slow';

export interface EngineParts {
  readonly log: Log;
  readonly tell: (reply: Reply | ThreadReply) => void;
  /** A clock that never steps, in milliseconds. */
  readonly elapsed?: () => number;
}

/** Decides when to commit, what to do when the disk refuses, and who gets to know. Lives in the store's thread. */
export class Engine {
  readonly #options: WorkerOptions;
  readonly #log: Log;
  readonly #tell: (reply: Reply | ThreadReply) => void;
  readonly #elapsed: () => number;
  readonly #waiting: Waiting;
  readonly #recent = new RecentRows();
  readonly #outages = new Outages();
  readonly #gauge: Gauge;
  readonly #fullDisk: FullDisk;
  readonly #upkeep: Upkeep;
  readonly #alarm = new Alarm(() => this.#commitAll());
  /** Rings when nothing was recorded for a while. */
  readonly #silence = new Alarm(() => this.#giveSign());
  #store: Store;
  #limit: number;
  /** Numbers that were given and will never be on disk. */
  #gaps: readonly Gap[] = [];
  #closing = false;
  #failing: string | null = null;
  /** What was found in the file that is closed and not yet replaced. */
  #damage: string | undefined;
  /** The sample log is as long as it may be, and nobody files what is in it. */
  #notFiled = false;
  #retry = FIRST_RETRY_MILLISECONDS;
  /** The sample log is to say that the gateway runs. */
  #signDue = false;
  /** Rows that nobody needs were left for another commit. */
  #trimDue = false;
  /** What the outbox could still take after the last commit: of a disk that is gone nobody can ask it. */
  #room: number;
  #commits = 0;
  #samplesCommitted = 0;
  #samplesLost = 0;
  #samplesRecorded = 0;
  #samplesUnrecorded = 0;
  #messagesDropped = 0;

  /** Throws what `openStore` throws. */
  constructor(options: WorkerOptions, { log, tell, elapsed = () => performance.now() }: EngineParts) {
    const { file, limit, shrinkFrom, points } = options;
    this.#options = options;
    this.#limit = limit;
    this.#log = log;
    this.#tell = tell;
    this.#elapsed = elapsed;
    this.#gauge = new Gauge(elapsed);
    this.#fullDisk = new FullDisk({ file, log, elapsed, onFull: () => tell({ type: 'full' }) });
    this.#upkeep = new Upkeep({ shrinkFrom, log, elapsed });
    this.#store = openStore({ ...options, log });
    this.#room = this.#store.room;
    this.#waiting = new Waiting(points, this.#store.samples.series.of);
    this.#silence.within(options.signEvery);
  }

  append(id: number, batch: Batch): void {
    if (!this.#took(id, () => this.#waiting.add(id, batch))) return;
    this.#schedule(this.#waiting.text >= COMMIT_AT_ONCE_BYTES ? 0 : this.#options.commitEvery);
    if (this.#failing !== null) this.#bound();
  }

  record(id: number, batch: Batch): void {
    if (!this.#took(id, () => this.#waiting.addSamples(id, batch))) return;
    this.#schedule(this.#options.commitEvery);
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

  /** Samples for the sample log that never arrived here. */
  unrecorded(outage: Outage): void {
    this.#samplesUnrecorded += outage.samples;
    this.#outages.add(outage, this.#elapsed());
    this.#schedule(this.#options.commitEvery);
  }

  /** Rows of the sample log up to this one are in files of the history. */
  filed(row: number): void {
    this.#store.samples.filed(row);
    this.#trimLater();
  }

  /** What the outbox may take from now on. */
  allow(limit: number): void {
    const allowed = Math.min(this.#options.limit, Math.max(MIN_LIMIT_BYTES, limit));
    if (allowed === this.#limit) return;
    this.#limit = allowed;
    if (this.#store.file.open) this.#store.limit = this.#limit;
    this.#trimLater();
  }

  consumer(name: string, note: string | undefined): Unread {
    const known = this.#store.places.consumers.get(name);
    if (known === undefined) {
      if (this.#store.places.consumers.size === 0)
        this.#discard(); // what came before a consumer is not promised to it
      else this.#commitAll();
      this.#store.addConsumer(name, note ?? '', Date.now());
    } else if (note !== undefined) known.note = note;
    this.#commitAll();
    return this.#unread(this.#entry(name));
  }

  consumers(): { name: string; note: string; since: number }[] {
    return [...this.#store.places.consumers].map(([name, { note, since }]) => ({ name, note, since }));
  }

  forget(name: string): void {
    this.#store.places.forget(name);
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
    const entry = this.#store.places.consumers.get(name);
    if (entry === undefined) return; // forgotten while the acknowledgement was on its way
    for (const row of rows) entry.cursor.acknowledge(lane, row);
    this.#schedule(this.#options.commitEvery);
  }

  read(name: string, lane: Lane, limit: number): { rows: ReadRow[]; unread: Unread } {
    const { cursor } = this.#entry(name);
    const rows: ReadRow[] = [];
    const dropBroken = (row: number): void => this.#dropBroken(row);
    try {
      if (this.#store.file.open)
        handOut(
          cursor,
          { lane, limit },
          { journal: this.#store.journal, recent: this.#recent, dropBroken },
          rows,
        );
    } catch (error) {
      this.#trouble(error, 'read');
    }
    return { rows, unread: this.#unread(this.#entry(name)) };
  }

  state(): OutboxState {
    const { journal, places } = this.#store;
    return {
      rows: journal.rows,
      bytes: journal.bytes,
      nextSeq: this.#store.nextSeq,
      commits: this.#commits,
      samplesCommitted: this.#samplesCommitted,
      samplesLost: this.#samplesLost,
      samplesRecorded: this.#samplesRecorded,
      samplesUnrecorded: this.#samplesUnrecorded,
      messagesDropped: this.#messagesDropped,
      failing: this.#failing,
      limit: bytes(this.#limit),
      bytesPerSecond: this.#gauge.bytesPerSecond,
      holdsFor: this.#gauge.holdsFor(this.#room),
      messagesWaiting: journal.messages,
      drainsIn: this.#gauge.drainsIn(journal.taken, places.backlog),
    };
  }

  close(): void {
    this.#alarm.stop();
    this.#silence.stop();
    this.#closing = true;
    this.#commitAll();
    this.#seal();
    this.#giveUp(this.#waiting.giveUp(-1), this.#failing ?? 'the outbox was closed');
    this.#store.close();
  }

  /** False where the batch names a point that does not exist; whoever sent it is told. */
  #took(id: number, take: () => void): boolean {
    try {
      take();
      return true;
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      const failure = { code: 'STORE_FAILED', message: error.message, remedy: undefined } as const;
      this.#tell({ type: 'failed', ids: [id], failure });
      return false;
    }
  }

  #entry(name: string): Entry {
    const entry = this.#store.places.consumers.get(name);
    if (entry === undefined)
      throw new SluiceError('STORE_FAILED', `the outbox keeps nothing for ${name}: it was forgotten`);
    return entry;
  }

  #unread({ cursor }: Entry): Unread {
    return unreadBy(cursor, this.#store.journal.head);
  }

  #dropBroken(row: number): void {
    const { messages, gaps } = this.#store.dropBroken(row);
    this.#log.error('a row of the outbox cannot be read and is given up', { row, messages });
    this.#messagesDropped += messages;
    this.#gaps = gaps.reduce(withGap, this.#gaps);
    this.#schedule(0);
  }

  /** While the disk refuses, its own pace counts. */
  #schedule(milliseconds: number): void {
    if (this.#failing === null || !this.#alarm.set) this.#alarm.within(milliseconds);
  }

  /** Not where nobody files: a year of it would be a log of signs. */
  #giveSign(): void {
    this.#signDue = this.#store.samples.taken < this.#options.sampleLog;
    this.#silence.within(this.#options.signEvery);
    this.#commitAll();
  }

  #trimLater(): void {
    this.#schedule(this.#options.commitEvery);
    this.#trimDue = true;
  }

  /** Without a consumer nobody was promised a message, so none is kept; the history wants every sample all the same. */
  #seal(): void {
    if (this.#store.places.consumers.size === 0) this.#discard();
    this.#store.nextSeq = this.#waiting.seal(this.#store.nextSeq, Date.now());
    this.#boundLog();
  }

  /** Commits until nothing waits or the disk refuses. */
  #commitAll(): void {
    try {
      if (this.#damage !== undefined) this.#replaceDamaged(this.#damage);
      if (!this.#store.file.open) this.#openAgain({ copied: true });
      if (this.#store.file.removed) this.#putBack();
      this.#seal();
      if (!this.#workLeft()) return;
      do this.#commitOnce();
      while (!this.#waiting.empty);
      this.#recovered();
      if (this.#upkeep.closed(this.#store)) this.#openAgain({ copied: true });
    } catch (error) {
      this.#trouble(error, 'write');
    }
  }

  #workLeft(): boolean {
    if (!this.#waiting.empty || this.#gaps.length > 0 || this.#trimDue || this.#signDue) return true;
    if (this.#closing ? !this.#outages.empty : this.#outages.dueIn(this.#elapsed()) <= 0) return true;
    return this.#failing !== null || this.#store.dirty;
  }

  #commitOnce(): void {
    const groups = this.#waiting.oldest(this.#failing === null ? undefined : 0); // a little may fit where much does not
    const over = this.#closing || groups.some(({ kind }) => kind === 'samples');
    const outages = this.#outages.rows(over, this.#elapsed(), Date.now());
    const rows = groups.flatMap((group) => group.rows);
    const recorded = [...outages, ...groups.flatMap((group) => group.log)];
    const log = recorded.length === 0 && this.#signDue ? [signOfLife(Date.now())] : recorded;
    const { backlog } = this.#store.places;
    const result = this.#fullDisk.commit(this.#store, () =>
      this.#store.commit({ rows, log, gaps: this.#gaps }, Date.now()),
    );
    this.#waiting.remove(groups);
    this.#gaps = [];
    if (outages.length > 0) this.#outages.written(over);
    if (log.length > 0) this.#heard();
    this.#commits++;
    this.#gauge.committed({ ...result, backlog });
    this.#room = result.room;
    this.#messagesDropped += result.droppedMessages;
    for (const { kind, samples } of groups)
      if (kind === 'samples') this.#samplesRecorded += samples;
      else this.#samplesCommitted += samples;
    if (result.droppedMessages > 0) this.#recent.clear(); // what was told as dropped does not come after all
    this.#recent.add(result.rows);
    this.#tell({ type: 'settled', ids: groups.flatMap(({ appends }) => appends) });
    if (result.rows.length > 0) this.#tell({ type: 'grown' });
    this.#trimDue = false;
    if (result.more) this.#trimLater();
    if (!this.#outages.empty)
      this.#schedule(Math.max(this.#options.commitEvery, this.#outages.dueIn(this.#elapsed())));
    if (result.droppedMessages > 0)
      this.#log.warn('the outbox is full: the oldest messages were given up', {
        messages: result.droppedMessages,
        limit: this.#limit,
      });
  }

  /** The sample log says that the gateway runs. */
  #heard(): void {
    this.#signDue = false;
    this.#silence.after(this.#options.signEvery);
  }

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
      this.#store.close();
      this.#damage = errorText(error);
      this.#commitAll();
      return;
    }
    if (!isTrouble(error)) throw error;
    const sentence = `cannot ${what} ${this.#options.file}: ${errorText(error)}; free space or replace the disk`;
    if (this.#failing === null) this.#log.error('the outbox is failing and tries again', { sentence });
    this.#failing = sentence;
    this.#alarm.after(this.#retry);
    this.#retry = Math.min(this.#retry * 2, LONGEST_RETRY_MILLISECONDS);
    this.#bound();
  }

  #bound(): void {
    if (this.#waiting.collected >= COMMIT_AT_ONCE_BYTES) this.#seal();
    if (this.#waiting.bytes <= MAX_WAITING_BYTES) return;
    this.#seal();
    this.#giveUp(this.#waiting.giveUp(KEPT_WAITING_BYTES), this.#failing ?? DISK_FULL);
  }

  /** What was acknowledged stays in the sample log until it is filed, so it is the newest that finds no room. */
  #boundLog(): void {
    const wanted = this.#waiting.sampleBytes;
    if (wanted === 0) return;
    const room = this.#options.sampleLog - this.#store.samples.taken;
    const given = wanted <= room ? [] : this.#waiting.giveUpSamples(room + this.#trimmable());
    if (given.length > 0)
      this.#giveUp(given, 'the history does not file what is in the sample log', NOT_FILED);
    if (given.length > 0 === this.#notFiled) return;
    this.#notFiled = given.length > 0;
    if (this.#notFiled)
      this.#log.error('samples are not recorded: the history does not file what is in the sample log', {
        limit: this.#options.sampleLog,
      });
    else this.#log.info('samples are recorded again', { unrecorded: this.#samplesUnrecorded });
  }

  /** Of the sample log, with the commit that is to come; nobody knows where the file cannot be read. */
  #trimmable(): number {
    if (!this.#store.file.open) return 0;
    try {
      return this.#store.samples.trimmable;
    } catch (error) {
      if (!isTrouble(error)) throw error;
      return 0;
    }
  }

  #giveUp(groups: readonly Group[], why: string, reason = DISK_FULL): void {
    for (const { kind, rows, samples, appends, from, to } of groups) {
      if (kind === 'samples') this.unrecorded({ from, to, samples, reason });
      else this.#samplesLost += samples;
      if (kind === 'telemetry')
        for (const { firstSeq, lastSeq } of rows)
          this.#gaps = withGap(this.#gaps, { from: firstSeq, to: lastSeq, reason });
      const failure = {
        code: 'OUTBOX_FULL',
        message: `${samples} samples were given up: ${why}`,
        remedy: reason === DISK_FULL ? FREE_SPACE : undefined,
      } as const;
      this.#tell({ type: 'failed', ids: appends, failure });
    }
  }

  /** The file was removed or replaced while it was open. */
  #putBack(): void {
    const { file } = this.#options;
    if (this.#failing === null) this.#log.error('the outbox database was removed and is put back', { file });
    this.#store.file.moveToCopy();
    this.#openAgain({ copied: true });
  }

  /** Goes on where the store, which is closed, stopped. */
  #openAgain(earlier: Earlier): void {
    const before = this.#store;
    const seriesOf = before.samples.series.of;
    this.#store = openStore(
      { ...this.#options, limit: this.#limit, log: this.#log },
      { ...earlier, seriesOf },
    );
    if (earlier.copied === true) this.#store.continueFrom(before);
    if (before.file.exclusive && !this.#store.file.exclusive)
      this.#log.info('the outbox database can be read by others again');
  }

  /** The file is broken: it is set aside, and a new one has the same consumers and the same numbers. */
  #replaceDamaged(found: string): void {
    const { file } = this.#options;
    const { nextSeq, places, journal, samples } = this.#store;
    const firstWaiting = this.#waiting.firstSeq() ?? nextSeq;
    const aside = setAside(file, new Date());
    this.#log.error('the outbox database is damaged; set aside, a new one is opened', { file, aside, found });
    this.#recent.clear();
    const heads = { head: journal.head, logHead: samples.head };
    this.#openAgain({ survivors: { nextSeq, firstWaiting, ...heads, consumers: places.consumers } });
    this.#damage = undefined;
    this.#tell({ type: 'grown' });
  }
}
