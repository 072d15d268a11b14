import type { Clock } from '../../core/clock.ts';
import { errorText, SluiceError } from '../../core/errors.ts';
import type { Log } from '../../core/log.ts';
import type { Reason } from '../../core/quality.ts';
import { Alarm } from './alarm.ts';
import { type Body, BodyReader } from './block.ts';
import { Exchange } from './exchange.ts';
import { code, type CoapOption, codeText, GET, type Message } from './message.ts';
import { type ExchangeRequest, MAX_TRANSMIT_WAIT, type Outcome } from './requests.ts';
import { type Datagrams, openClient } from './transport.ts';

export interface ClientDeps {
  readonly clock: Clock;
  readonly log: Log;
  /** 0 to 1: jitter of retransmission and re-registration. */
  readonly random?: () => number;
}

/** Reasons of error codes, RFC 7252, 12.1.2 and RFC 7959, 2.9; what is not listed is `refused`. */
const REFUSALS: ReadonlyMap<number, Reason> = new Map(
  ([
    ['4.00', 'bad request'], ['4.01', 'unauthorized'], ['4.02', 'bad option'], ['4.03', 'forbidden'],
    ['4.04', 'not found'], ['4.05', 'method not allowed'], ['4.06', 'not acceptable'],
    ['4.08', 'request entity incomplete'], ['4.12', 'precondition failed'], ['4.13', 'request entity too large'],
    ['4.15', 'unsupported content format'], ['5.00', 'internal server error'], ['5.01', 'not implemented'],
    ['5.02', 'bad gateway'], ['5.03', 'service unavailable'], ['5.04', 'gateway timeout'],
    ['5.05', 'proxying not supported'],
  ] as const).map(([text, reason]) => [code(text), reason]),
); // biome-ignore format: a table

export const refusalReason = (value: number): Reason => REFUSALS.get(value) ?? 'refused';

/** What a device answered instead of a value. */
export function refusal(what: string, value: number): SluiceError {
  return new SluiceError(
    'DEVICE_REFUSED',
    `${what}: the device answered ${codeText(value)} ${refusalReason(value)}`,
    {
      reason: refusalReason(value),
    },
  );
}

/**
 * One CoAP endpoint: the socket, the message layer and the time that drives it. Each endpoint has a socket of its own.
 * The 265 messages a second that 16-bit message IDs allow are counted per pair of ports, so they are never shared;
 * the kernel filters by source; a port of its own makes a forged answer 16 bits harder; and a broken route concerns
 * one line. The price is one descriptor per device.
 */
export class CoapClient {
  readonly endpoint: string;
  readonly exchange: Exchange;
  readonly #host: string;
  readonly #port: number;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #alarm: Alarm;
  /** Called when the socket is of no use any more. */
  onLost: (error: SluiceError) => void = () => {};
  #socket: Datagrams | undefined;
  #opening: Promise<void> | undefined;
  #closed = false;

  constructor(host: string, port: number, deps: ClientDeps) {
    this.endpoint = `coap://${host.includes(':') ? `[${host}]` : host}:${port}`;
    this.#host = host;
    this.#port = port;
    this.#clock = deps.clock;
    this.#log = deps.log;
    this.exchange = new Exchange({
      send: (datagram) => this.#socket?.send(datagram),
      random: deps.random ?? Math.random,
    });
    this.#alarm = new Alarm(deps.clock, (now) => {
      this.exchange.tick(now);
      this.#wind();
    });
  }

  /** Opens the socket where there is none. */
  async open(): Promise<void> {
    if (this.#closed) throw this.#lost('the line is closed');
    if (this.#socket !== undefined) return;
    this.#opening ??= this.#open();
    try {
      await this.#opening;
    } finally {
      this.#opening = undefined;
    }
  }

  async #open(): Promise<void> {
    let mine: Datagrams | undefined;
    const socket = await openClient(this.#host, this.#port, {
      received: (datagram) => {
        this.exchange.receive(datagram, this.#clock.elapsed());
        this.#wind();
      },
      failed: (error, fatal) => this.#failed(error, fatal, mine),
    });
    mine = socket;
    if (this.#closed) await socket.close();
    else this.#socket = socket;
  }

  #failed(error: Error, fatal: boolean, socket: Datagrams | undefined): void {
    if (socket === undefined || socket !== this.#socket) return;
    if (fatal) {
      this.#log.warn('CoAP socket failed', { endpoint: this.endpoint, error: errorText(error) });
      this.#socket = undefined;
      void socket.close();
    }
    this.exchange.fail();
    if (fatal) this.onLost(this.#lost(`the socket failed: ${errorText(error)}`));
  }

  /**
   * One request, one response (also 4.xx and 5.xx). Throws DEVICE_TIMEOUT, REPLY_MISMATCH, DEVICE_REFUSED (RST),
   * CONNECTION_LOST, or the signal's reason. `what` names it for people.
   */
  async request(what: string, request: ExchangeRequest, signal: AbortSignal): Promise<Message> {
    signal.throwIfAborted();
    if (this.#socket === undefined) throw this.#lost('no socket');
    const outcome = await new Promise<Outcome>((resolve) => {
      let giveUp: (() => void) | undefined;
      const onAbort = (): void => {
        giveUp?.();
        this.#wind();
      };
      signal.addEventListener('abort', onAbort, { once: true });
      giveUp = this.exchange.request(request, this.#clock.elapsed(), (result) => {
        signal.removeEventListener('abort', onAbort);
        resolve(result);
      });
      this.#wind();
    });
    if (outcome.kind === 'response') return outcome.message;
    if (outcome.kind === 'given up') signal.throwIfAborted();
    throw this.#failure(what, request.limit, outcome);
  }

  #failure(what: string, limit: number, outcome: Outcome): SluiceError {
    const on = `${what} on ${this.endpoint}`;
    switch (outcome.kind) {
      case 'timeout':
        return new SluiceError(
          'DEVICE_TIMEOUT',
          `${on}: no answer within ${Math.min(limit, MAX_TRANSMIT_WAIT) / 1_000} s`,
          { remedy: 'check that the device is powered and that its address is right' },
        );
      case 'reset':
        return new SluiceError('DEVICE_REFUSED', `${on}: the device answered with a reset`, {
          reason: 'reset',
        });
      case 'not understood':
        return new SluiceError(
          'REPLY_MISMATCH',
          `${on}: the response carries the critical option ${outcome.option}, which must be understood and is not`,
        );
      case 'full':
        return new SluiceError('DEVICE_TIMEOUT', `${on}: too many requests wait for this endpoint`);
      default:
        return this.#lost(`${what}: nobody listens there, or no route`);
    }
  }

  /** GET of a whole body, block by block where the device sends it so (RFC 7959). Throws like `request`, and DEVICE_REFUSED. */
  async get(what: string, options: readonly CoapOption[], limit: number, signal: AbortSignal): Promise<Body> {
    const first = await this.request(what, { code: GET, options, limit }, signal);
    return this.rest(what, first, { options, limit }, signal);
  }

  /** The whole body that begins with `first`. */
  async rest(
    what: string,
    first: Message,
    again: { readonly options: readonly CoapOption[]; readonly limit: number },
    signal: AbortSignal,
  ): Promise<Body> {
    const reader = new BodyReader();
    const end = this.#clock.elapsed() + MAX_TRANSMIT_WAIT;
    for (let message = first; ; ) {
      const step = reader.accept(message);
      if (step.kind === 'done') return step.body;
      if (step.kind === 'refused') throw refusal(`${what} on ${this.endpoint}`, step.code);
      if (step.kind === 'wrong')
        throw new SluiceError('REPLY_MISMATCH', `${what} on ${this.endpoint}: ${step.what}`);
      if (this.#clock.elapsed() >= end) {
        throw new SluiceError('DEVICE_TIMEOUT', `${what} on ${this.endpoint}: no whole body within 93 s`);
      }
      const options = [...again.options, ...step.options];
      message = await this.request(what, { code: GET, options, limit: again.limit }, signal);
    }
  }

  /** Sent once; nobody waits for an answer. */
  tell(codeOfRequest: number, options: readonly CoapOption[], token: Uint8Array): void {
    this.exchange.tell(codeOfRequest, options, token, this.#clock.elapsed());
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.exchange.fail();
    this.#alarm.stop();
    const socket = this.#socket;
    this.#socket = undefined;
    await this.#opening?.catch(() => {});
    await socket?.close();
  }

  #wind(): void {
    this.#alarm.set(this.exchange.nextDue);
  }

  #lost(why: string): SluiceError {
    return new SluiceError('CONNECTION_LOST', `${this.endpoint}: ${why}`);
  }
}
