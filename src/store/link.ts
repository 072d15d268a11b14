import type { Worker } from 'node:worker_threads';
import { SluiceError, errorText } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { Failure, Reply, Request } from './protocol.ts';

const FIRST_RESTART_MILLISECONDS = 250;
/** A thread that fails again and again costs a start in so long, and samples are given up meanwhile. */
const LONGEST_RESTART_MILLISECONDS = 30_000;
/** A thread that ran for so long did not fail for the reason of the one before. */
const STABLE_MILLISECONDS = 60_000;

interface Pending {
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: Error) => void;
}

/** The thread ended, or is not there at the moment: nobody knows what became of the request. */
export class ThreadGone extends SluiceError {
  constructor(message: string, cause?: unknown) {
    super('STORE_FAILED', message, { cause });
  }
}

/** The gateway's end of the channel to the store's thread. A thread that fails is started again. */
export class Link {
  readonly #spawn: () => Worker;
  readonly #log: Log;
  readonly #pending = new Map<number, Pending>();
  readonly #ended = Promise.withResolvers<void>();
  #worker: Worker | undefined;
  /** Why nothing can be asked. */
  #gone = new ThreadGone('the outbox is not open yet');
  #grown: () => void = () => {};
  #again: () => void = () => {};
  #lastId = 0;
  #closing = false;
  #restart: NodeJS.Timeout | undefined;
  #restarting: Promise<void> | undefined;
  #wait = FIRST_RESTART_MILLISECONDS;
  #complained = '';

  constructor(spawn: () => Worker, log: Log) {
    this.#spawn = spawn;
    this.#log = log;
  }

  /** Resolves when the database is open; throws why it cannot be. */
  async open(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const worker = this.#spawn();
    const started = performance.now();
    let why: SluiceError | undefined;
    worker.on('message', (reply: Reply) => {
      if (reply.type === 'cannot start') why = errorFrom(reply.failure);
      else if (reply.type === 'ready') {
        this.#worker = worker;
        resolve();
      } else this.#take(reply);
    });
    worker.on('error', (error) => {
      why = new ThreadGone(`the thread of the outbox failed: ${errorText(error)}`, error);
    });
    worker.once('exit', () => {
      const wasOpen = this.#worker === worker;
      this.#worker = undefined;
      const says =
        why?.message ?? (this.#closing ? 'the outbox is closed' : 'the thread of the outbox ended');
      this.#gone = new ThreadGone(says, why);
      reject(why ?? this.#gone);
      for (const pending of this.#pending.values()) pending.reject(this.#gone);
      this.#pending.clear();
      if (this.#closing) this.#ended.resolve();
      else if (wasOpen) this.#restartLater(performance.now() - started);
    });
    return promise;
  }

  onGrown(grown: () => void): void {
    this.#grown = grown;
  }

  /** Called when a thread was started in place of one that failed. */
  onAgain(again: () => void): void {
    this.#again = again;
  }

  /** What nobody waits for; lost where there is no thread. */
  post(request: Request): void {
    this.#worker?.postMessage(request);
  }

  /** Rejects with ThreadGone where no answer will come. */
  async ask(request: (id: number) => Request, buffers: ArrayBuffer[] = []): Promise<Reply> {
    if (this.#worker === undefined) throw this.#gone;
    const id = ++this.#lastId;
    const { promise, resolve, reject } = Promise.withResolvers<Reply>();
    this.#pending.set(id, { resolve, reject });
    try {
      this.#worker.postMessage(request(id), buffers);
    } catch (error) {
      this.#pending.delete(id);
      throw error;
    }
    return promise;
  }

  async close(): Promise<void> {
    const again = this.#closing;
    this.#closing = true;
    clearTimeout(this.#restart);
    await this.#restarting;
    if (this.#worker === undefined) return;
    if (!again) await this.ask((id) => ({ type: 'close', id }));
    await this.#ended.promise;
  }

  #restartLater(lived: number): void {
    if (lived > STABLE_MILLISECONDS) this.#wait = FIRST_RESTART_MILLISECONDS;
    const error = errorText(this.#gone);
    if (error !== this.#complained) this.#log.error('the outbox is started again', { error });
    this.#complained = error;
    this.#restart = setTimeout(() => {
      this.#restarting = this.#openAgain();
    }, this.#wait);
    this.#wait = Math.min(this.#wait * 2, LONGEST_RESTART_MILLISECONDS);
  }

  async #openAgain(): Promise<void> {
    try {
      await this.open();
    } catch {
      if (!this.#closing) this.#restartLater(0);
      return;
    }
    this.#log.info('the outbox runs again');
    this.#complained = '';
    this.#again();
  }

  #take(reply: Exclude<Reply, { type: 'ready' | 'cannot start' }>): void {
    switch (reply.type) {
      case 'log':
        return this.#log[reply.level](reply.what, reply.facts);
      case 'grown':
        return this.#grown();
      case 'settled':
        for (const id of reply.ids) this.#settle(id, reply);
        return undefined;
      case 'failed':
        for (const id of reply.ids) {
          this.#pending.get(id)?.reject(errorFrom(reply.failure));
          this.#pending.delete(id);
        }
        return undefined;
      default:
        return this.#settle(reply.id, reply);
    }
  }

  #settle(id: number, reply: Reply): void {
    this.#pending.get(id)?.resolve(reply);
    this.#pending.delete(id);
  }
}

function errorFrom({ code, message, remedy }: Failure): SluiceError {
  return new SluiceError(code, message, remedy === undefined ? {} : { remedy });
}
