import type { Clock } from '../../core/clock.ts';
import { errorText, SluiceError } from '../../core/errors.ts';
import type { Log } from '../../core/log.ts';
import { type Reason, reasonCode } from '../../core/quality.ts';
import { Alarm } from './alarm.ts';
import { type Body, BodyReader } from './block.ts';
import { type CoapClient, refusalReason } from './client.ts';
import { type CoapOption, codeText, GET, type Message } from './message.ts';
import { Observation } from './observe.ts';
import { OBSERVE, uintOption } from './options.ts';

/** One observed resource, and who wants to know. */
export interface Watched {
  /** For people: `observe /sensors/level of tank-3`. */
  readonly what: string;
  readonly options: readonly CoapOption[];
  /** Longest wait for one answer, ms. */
  readonly limit: number;
  /** Period of asking where the device declines, ms. */
  readonly every: number;
  readonly news: (body: Body) => void;
  readonly bad: (reason: number) => void;
}

interface Followed extends Watched {
  readonly token: Uint8Array;
  readonly observation: Observation;
  /** People know that it fails; a new socket is no news to them. */
  failing: boolean;
  fetching: boolean;
  again: boolean;
}

const DEREGISTER = 1; // RFC 7641, 2
const REGISTER = 0;
const MISMATCH = reasonCode('reply mismatch');

export interface WatcherDeps {
  readonly client: CoapClient;
  readonly clock: Clock;
  readonly log: Log;
  readonly random: () => number;
}

/** Keeps the relations of one endpoint alive: registers, orders what comes, fetches what is larger than a block. */
export class Watcher {
  readonly #client: CoapClient;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #followed: readonly Followed[];
  readonly #alarm: Alarm;
  #signal: AbortSignal | undefined;

  constructor(watched: readonly Watched[], { client, clock, log, random }: WatcherDeps) {
    this.#client = client;
    this.#clock = clock;
    this.#log = log;
    this.#followed = watched.map((one) => ({
      ...one,
      token: client.exchange.newToken(),
      observation: new Observation(one.every, random),
      failing: false,
      fetching: false,
      again: false,
    }));
    this.#alarm = new Alarm(clock, (now) => this.#register(now));
  }

  /**
   * Follows until aborted; then tells the device, once, that nobody listens any more. Throws CONNECTION_LOST when the
   * socket fails: what was registered with its port is lost.
   */
  async run(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    this.#signal = signal;
    for (const one of this.#followed) {
      one.observation.forgotten(this.#clock.elapsed());
      this.#client.exchange.listen(one.token, (message, now) => this.#heard(one, message, now, false));
    }
    this.#register(this.#clock.elapsed());
    const ended = Promise.withResolvers<SluiceError | undefined>();
    const aborted = (): void => ended.resolve(undefined);
    signal.addEventListener('abort', aborted, { once: true });
    this.#client.onLost = ended.resolve;

    const lost = await ended.promise;

    signal.removeEventListener('abort', aborted);
    this.#signal = undefined;
    this.#alarm.stop();
    for (const { token, options, observation } of this.#followed) {
      this.#client.exchange.unlisten(token);
      // not awaited: a notification that still comes gets a reset, which ends the relation too (RFC 7641, 3.6)
      if (observation.state === 'observing') {
        this.#client.tell(GET, [...options, uintOption(OBSERVE, DEREGISTER)], token);
      }
    }
    if (lost !== undefined) throw lost;
  }

  #register(now: number): void {
    const signal = this.#signal;
    if (signal === undefined) return;
    for (const one of this.#followed) {
      if (one.observation.due > now) continue;
      one.observation.registering();
      void this.#ask(one, signal);
    }
    this.#wind();
  }

  #wind(): void {
    this.#alarm.set(Math.min(...this.#followed.map(({ observation }) => observation.due)));
  }

  async #ask(one: Followed, signal: AbortSignal): Promise<void> {
    const options = [...one.options, uintOption(OBSERVE, REGISTER)];
    try {
      const answer = await this.#client.request(
        one.what,
        { code: GET, options, limit: one.limit, token: one.token },
        signal,
      );
      this.#heard(one, answer, this.#clock.elapsed(), true);
    } catch (error) {
      // a relation that brings news works, whatever became of the answer
      if (!one.observation.hasNews) this.#failed(one, error, signal);
    }
  }

  #failed(one: Followed, error: unknown, signal: AbortSignal): void {
    if (signal.aborted || this.#signal !== signal) return; // stopped
    if (!(error instanceof SluiceError)) throw error;
    if (!one.failing) {
      one.failing = true;
      this.#log.warn('CoAP observation fails', { resource: one.what, error: errorText(error) });
    }
    one.observation.failed(this.#clock.elapsed());
    one.bad(error.reason);
    this.#wind();
  }

  /** Before it returns the news are taken, and only then acknowledged. */
  #heard(one: Followed, message: Message, now: number, isAnswer: boolean): void {
    if (this.#signal === undefined) return; // stopped
    const before = one.observation.state;
    one.failing = false;
    const heard = one.observation.heard(message, now, isAnswer);
    this.#wind();
    if (one.observation.state !== before) {
      this.#log.info('CoAP observation', {
        resource: one.what,
        state: one.observation.state,
        code: codeText(message.code),
      });
    }
    if (heard.kind === 'ended') {
      const reason: Reason =
        isAnswer || refusalReason(heard.code) !== 'refused'
          ? refusalReason(heard.code)
          : 'no longer observable';
      one.bad(reasonCode(reason));
    } else if (heard.kind === 'fresh') {
      this.#read(one, message);
    }
  }

  #read(one: Followed, message: Message): void {
    const signal = this.#signal;
    if (signal === undefined) return;
    if (one.fetching) {
      one.again = true; // a newer state than the one that is being fetched
      return;
    }
    const step = new BodyReader().accept(message);
    if (step.kind === 'done') one.news(step.body);
    else if (step.kind === 'ask') void this.#fetch(one, message, signal);
    else one.bad(MISMATCH);
  }

  /** A notification carries the first block alone; the rest is asked for without Observe (RFC 7959, 2.6). */
  async #fetch(one: Followed, first: Message, signal: AbortSignal): Promise<void> {
    const { what, options, limit } = one;
    one.fetching = true;
    try {
      let body = await this.#client.rest(what, first, { options, limit }, signal);
      one.news(body);
      while (one.again) {
        one.again = false;
        body = await this.#client.get(what, options, limit, signal);
        one.news(body);
      }
    } catch (error) {
      one.again = false;
      this.#failed(one, error, signal);
    } finally {
      one.fetching = false;
    }
  }
}
