import { createServer, type Server, type Socket } from 'node:net';
import { parseAddress } from '../../../config/network.ts';
import type { Clock } from '../../../core/clock.ts';
import type { Facts } from '../../../core/log.ts';
import { seconds } from '../../../core/units.ts';
import { type GuardedConduit, type GuardTarget, observesAt } from '../../../segmentation/guards.ts';
import { viewOf } from '../pdu.ts';
import type { Book } from './book.ts';
import { type Asked, Client, exception } from './client.ts';
import { accessText, BROADCAST, decide } from './decide.ts';
import { Lane } from './lane.ts';
import { parseRequest, type Request } from './request.ts';

/** An HMI has one or two connections, a historian a few. */
const MOST_CLIENTS = 32;
const MOST_OF_ONE_ADDRESS = 8;
const KEEP_ALIVE_AFTER = seconds(30);
/** Gateway target device failed to respond (Application Protocol V1.1b3, 7). */
const NO_RESPONSE = 0x0b;

interface Dependencies {
  readonly conduit: GuardedConduit;
  readonly target: GuardTarget;
  readonly book: Book;
  readonly clock: Clock;
}

/** Where the connections of one conduit to one device end, and what becomes of their requests. */
export class GuardListener {
  readonly #deps: Dependencies;
  readonly #lane: Lane;
  readonly #clients = new Set<Client>();
  readonly #server: Server;

  constructor(deps: Dependencies) {
    this.#deps = deps;
    const { host, port, inFlight, timeout } = deps.target;
    const endpoint = `modbus-tcp://${host.includes(':') ? `[${host}]` : host}:${port}`;
    this.#lane = new Lane({ endpoint, host, port, inFlight, timeout, clock: deps.clock });
    this.#server = createServer({
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_AFTER,
    });
    this.#server.on('connection', (socket) => this.#connected(socket));
  }

  /** Connections are led to whatever address of the gateway is nearest: it listens on all of them. */
  async listen(): Promise<void> {
    const { family, listener: port } = this.#deps.target;
    const where = family === 4 ? { port, host: '0.0.0.0' } : { port, host: '::', ipv6Only: true };
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(where, () => {
        this.#server.off('error', reject);
        resolve();
      });
    });
    // An accept that fails for want of descriptors is no reason to end anything.
    this.#server.on('error', () => (this.#deps.book.counters.refused += 1));
  }

  sweep(): void {
    for (const client of this.#clients) client.sweep();
    this.#lane.sweep();
  }

  close(): void {
    this.#server.close();
    for (const client of this.#clients) client.close();
    this.#lane.close();
  }

  /** Rules let only clients of the conduit come here; where they are not loaded, this is what is left. */
  #connected(socket: Socket): void {
    const { book, clock, conduit } = this.#deps;
    const address = (socket.remoteAddress ?? '').replace(/^::ffff:(?=\d+\.)/, '');
    if (!isClient(conduit, address)) {
      book.counters.refused += 1;
      socket.on('error', () => {});
      socket.resetAndDestroy();
      book.tell('guard-refused', 'guard: a connection of somebody who is no client of the conduit', {
        ...this.#facts(address),
      });
      return;
    }
    book.counters.connections += 1;
    this.#makeRoom(address);
    const client: Client = new Client(socket, address, {
      clock,
      onRequest: (asked) => this.#asked(asked, address),
      onBroken: () => {
        book.counters.broken += 1;
        book.tell('guard-broken', 'guard: something that is not Modbus TCP, connection closed', {
          ...this.#facts(address),
        });
      },
      onGone: () => this.#clients.delete(client),
    });
    this.#clients.add(client);
  }

  /** The one that has not been used for longest goes (Messaging Guide V1.0b, 4.2.2), first of the same address. */
  #makeRoom(address: string): void {
    const own = [...this.#clients].filter((client) => client.address === address);
    const crowd = own.length >= MOST_OF_ONE_ADDRESS ? own : [...this.#clients];
    if (crowd === own || crowd.length >= MOST_CLIENTS) {
      this.#deps.book.counters.refused += 1;
      crowd.toSorted((a, b) => a.idleSince - b.idleSince)[0]?.close();
    }
  }

  #asked(asked: Asked, client: string): void {
    const { book, clock, conduit, target } = this.#deps;
    const { unit, pdu, isWanted, answer, done } = asked;
    book.counters.requests += 1;
    const view = viewOf(pdu);
    const parsed = parseRequest(view, 0, pdu.length);
    const decision = decide({ guard: conduit.limits, units: target.units }, unit, parsed);
    if (!decision.allowed) {
      book.counters.forbidden += 1;
      const request = 'exception' in parsed ? undefined : parsed;
      const facts = { ...this.#facts(client), unit, function: pdu[0], ...requestFacts(request) };
      const observes = observesAt(conduit, clock.now());
      const what = observes ? 'guard: a request would be forbidden' : 'guard: a request is forbidden';
      book.tell(observes ? 'guard-would-forbid' : 'guard-forbidden', what, {
        ...facts,
        because: decision.because,
      });
      if (!observes) {
        answer(exception(pdu, decision.exception));
        return;
      }
    }
    book.counters.forwarded += 1;
    const isSilent = unit === BROADCAST && !('exception' in parsed) && parsed.write !== undefined;
    this.#lane.ask({
      unit,
      pdu,
      request: 'exception' in parsed ? undefined : parsed,
      isWanted,
      answer: (reply) => {
        if (reply !== undefined) return answer(reply);
        if (isSilent) return done();
        book.counters.unanswered += 1;
        return answer(exception(pdu, NO_RESPONSE));
      },
    });
  }

  #facts(client: string): Facts & { readonly conduit: string; readonly client: string } {
    const { conduit, target } = this.#deps;
    return { conduit: conduit.name, client, devices: target.devices.join(',') };
  }
}

function requestFacts(request: Request | undefined): Facts {
  if (request === undefined) return {};
  const { read, write } = request;
  return {
    ...(read && { read: accessText(read) }),
    ...(write && { write: accessText(write), values: write.values }),
  };
}

function isClient({ clients }: GuardedConduit, text: string): boolean {
  const address = parseAddress(text);
  if (address === undefined) return false;
  const ranges = address.family === 4 ? clients.v4 : clients.v6;
  return ranges.some(({ low, high }) => low <= address.value && address.value <= high);
}
