import type { Worker } from 'node:worker_threads';
import { SluiceError, errorText } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { Failure, Reply, Request } from './protocol.ts';

interface Pending {
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: Error) => void;
}

/** The gateway's end of the channel to the store's thread. */
export class Link {
  readonly #worker: Worker;
  readonly #log: Log;
  readonly #pending = new Map<number, Pending>();
  readonly #started = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<void>();
  #grown: () => void = () => {};
  #lastId = 0;
  #broken: Error | undefined;

  constructor(worker: Worker, log: Log) {
    this.#worker = worker;
    this.#log = log;
    worker.on('message', (reply: Reply) => this.#take(reply));
    worker.on('error', (error) => {
      log.error('the thread of the outbox failed', { error: errorText(error) });
      this.#break(failed(`the thread of the outbox failed: ${errorText(error)}`, error));
    });
    worker.on('exit', () => {
      this.#break(failed('the outbox is closed'));
      this.#ended.resolve();
    });
  }

  /** Resolves when the database is open. */
  async ready(): Promise<void> {
    await this.#started.promise;
  }

  onGrown(grown: () => void): void {
    this.#grown = grown;
  }

  post(request: Request, buffers: ArrayBuffer[] = []): void {
    if (this.#broken === undefined) this.#worker.postMessage(request, buffers);
  }

  async ask(request: (id: number) => Request, buffers: ArrayBuffer[] = []): Promise<Reply> {
    if (this.#broken !== undefined) throw this.#broken;
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

  /** Resolves when what the request brings is on disk. */
  async settle(request: (id: number) => Request, buffers: ArrayBuffer[] = []): Promise<void> {
    await this.ask(request, buffers);
  }

  async close(): Promise<void> {
    if (this.#broken === undefined) await this.ask((id) => ({ type: 'close', id }));
    await this.#ended.promise;
  }

  #take(reply: Reply): void {
    switch (reply.type) {
      case 'ready':
        return this.#started.resolve();
      case 'cannot start':
        return this.#break(errorFrom(reply.failure));
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

  #break(error: Error): void {
    this.#broken ??= error;
    this.#started.reject(this.#broken);
    for (const { reject } of this.#pending.values()) reject(this.#broken);
    this.#pending.clear();
  }
}

function failed(message: string, cause?: unknown): SluiceError {
  return new SluiceError('STORE_FAILED', message, { cause });
}

function errorFrom({ code, message, remedy }: Failure): SluiceError {
  return new SluiceError(code, message, remedy === undefined ? {} : { remedy });
}
