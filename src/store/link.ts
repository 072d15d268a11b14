import type { Worker } from 'node:worker_threads';
import { SluiceError, errorText } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import { type CloseRequest, type ThreadReply, errorFrom } from './thread.ts';

const FIRST_RESTART_MILLISECONDS = 250;
/** A thread that fails again and again costs a start in so long, and what it should do is left undone meanwhile. */
const LONGEST_RESTART_MILLISECONDS = 30_000;
/** A thread that ran for so long did not fail for the reason of the one before. */
const STABLE_MILLISECONDS = 60_000;

/** Questions that wait for an answer: more than people and pages ask at a time, and few enough for the memory. */
const MOST_QUESTIONS = 100;

/** What a thread sends: the answer to one request or to several, or news where it names none. */
export interface Addressed {
  readonly type: string;
  readonly id?: number;
  readonly ids?: readonly number[];
}

interface Pending<Reply> {
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: Error) => void;
}

export interface LinkOptions {
  /** As in "the outbox is started again". */
  readonly name: string;
  readonly spawn: () => Worker;
  readonly log: Log;
}

/** The thread ended, or is not there at the moment: nobody knows what became of the request. */
export class ThreadGone extends SluiceError {
  constructor(message: string, cause?: unknown) {
    super('STORE_FAILED', message, { cause });
  }
}

/** The gateway's end of the channel to a thread of the store. A thread that fails is started again. */
export class Link<Request, Reply extends Addressed> {
  /** Questions that were refused because too many waited. */
  refused = 0;
  readonly #options: LinkOptions;
  readonly #pending = new Map<number, Pending<Reply>>();
  readonly #ended = Promise.withResolvers<void>();
  #worker: Worker | undefined;
  /** Why nothing can be asked. */
  #gone: ThreadGone;
  #news: (reply: Reply) => void = () => {};
  #again: () => void = () => {};
  #lastId = 0;
  #questions = 0;
  #closing = false;
  #restart: NodeJS.Timeout | undefined;
  #restarting: Promise<void> | undefined;
  #wait = FIRST_RESTART_MILLISECONDS;
  #complained = '';

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#gone = new ThreadGone(`the ${options.name} is not open yet`);
  }

  /** Resolves when the thread is ready; throws why it cannot be. */
  async open(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const { name, spawn } = this.#options;
    const worker = spawn();
    const started = performance.now();
    let why: SluiceError | undefined;
    worker.on('message', (reply: Reply | ThreadReply) => {
      if (!isOfThread(reply)) this.#take(reply);
      else if (reply.type === 'cannot start') why = errorFrom(reply.failure);
      else if (reply.type === 'ready') {
        this.#worker = worker;
        resolve();
      } else this.#hear(reply);
    });
    worker.on('error', (error) => {
      why = new ThreadGone(`the thread of the ${name} failed: ${errorText(error)}`, error);
    });
    worker.once('exit', () => {
      const wasOpen = this.#worker === worker;
      this.#worker = undefined;
      const says =
        why?.message ?? (this.#closing ? `the ${name} is closed` : `the thread of the ${name} ended`);
      this.#gone = new ThreadGone(says, why);
      reject(why ?? this.#gone);
      for (const pending of this.#pending.values()) pending.reject(this.#gone);
      this.#pending.clear();
      if (this.#closing) this.#ended.resolve();
      else if (wasOpen) this.#restartLater(performance.now() - started);
    });
    return promise;
  }

  /** Called with what answers nothing. */
  onNews(news: (reply: Reply) => void): void {
    this.#news = news;
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
  async ask(request: (id: number) => Request | CloseRequest, buffers: ArrayBuffer[] = []): Promise<Reply> {
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

  /** The same for whoever may ask as much as it likes. Rejects with BUSY where too many wait already. */
  async question(request: (id: number) => Request): Promise<Reply> {
    if (this.#questions >= MOST_QUESTIONS) {
      this.refused++;
      const { name } = this.#options;
      throw new SluiceError(
        'BUSY',
        `the ${name} has ${MOST_QUESTIONS} questions to answer and takes no more`,
        {
          remedy: 'ask again in a while, and for less at a time',
        },
      );
    }
    this.#questions++;
    try {
      return await this.ask(request);
    } finally {
      this.#questions--;
    }
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
    const { name, log } = this.#options;
    if (lived > STABLE_MILLISECONDS) this.#wait = FIRST_RESTART_MILLISECONDS;
    const error = errorText(this.#gone);
    if (error !== this.#complained) log.error(`the ${name} is started again`, { error });
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
    this.#options.log.info(`the ${this.#options.name} runs again`);
    this.#complained = '';
    this.#again();
  }

  #hear(reply: Extract<ThreadReply, { type: 'log' | 'failed' }>): void {
    if (reply.type === 'log') {
      this.#options.log[reply.level](reply.what, reply.facts);
      return;
    }
    for (const id of reply.ids) {
      this.#pending.get(id)?.reject(errorFrom(reply.failure));
      this.#pending.delete(id);
    }
  }

  #take(reply: Reply): void {
    if (reply.ids !== undefined) for (const id of reply.ids) this.#settle(id, reply);
    else if (reply.id !== undefined) this.#settle(reply.id, reply);
    else this.#news(reply);
  }

  #settle(id: number, reply: Reply): void {
    this.#pending.get(id)?.resolve(reply);
    this.#pending.delete(id);
  }
}

function isOfThread(reply: Addressed): reply is ThreadReply {
  return ['ready', 'cannot start', 'log', 'failed'].includes(reply.type);
}
