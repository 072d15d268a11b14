import { createServer, type Server, type Socket } from 'node:net';
import { parseAddress } from '../../../config/network.ts';
import type { Clock } from '../../../core/clock.ts';
import type { Facts } from '../../../core/log.ts';
import { seconds } from '../../../core/units.ts';
import { type GuardedConduit, type GuardTarget, observesAt } from '../../../segmentation/guards.ts';
import { viewOf } from '../pdu.ts';
import type { Book } from './book.ts';
import { type Asked, Client, exception, MOST_UNREAD } from './client.ts';
import { accessText, decide } from './decide.ts';
import { Knock } from './knock.ts';
import { isBroadcast, Lane, LONGEST_WAIT } from './lane.ts';
import { Pace } from './pace.ts';
import { parseRequest, type Request } from './request.ts';

/** An HMI has one or two connections, a historian a few. */
const MOST_CLIENTS = 32;
const MOST_OF_ONE_ADDRESS = 8;
const KEEP_ALIVE_AFTER = seconds(30);
// Application Protocol V1.1b3, 7: server device busy; gateway target device failed to respond.
const BUSY = 6;
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
  readonly #pace: Pace;
  readonly #knock: Knock;
  readonly #stop = new AbortController();
  readonly #clients = new Set<Client>();
  readonly #server: Server;

  constructor(deps: Dependencies) {
    this.#deps = deps;
    const { host, port, inFlight, timeout } = deps.target;
    const endpoint = `modbus-tcp://${host.includes(':') ? `[${host}]` : host}:${port}`;
    this.#lane = new Lane({ endpoint, host, port, inFlight, timeout, clock: deps.clock });
    this.#pace = new Pace(deps.clock);
    this.#knock = new Knock(deps.target, deps.clock);
    this.#server = createServer({
      allowHalfOpen: true,
      pauseOnConnect: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_AFTER,
      // What a connection that is not read holds in the process.
      highWaterMark: MOST_UNREAD,
    });
    this.#server.on('connection', (socket) => this.#connected(socket));
  }

  /** Connections are led to whatever address of the gateway is nearest: it listens on all of them, and knocks by IPv4. */
  async listen(): Promise<void> {
    const { family, listener: port } = this.#deps.target;
    const where = { port, host: family === 4 ? '0.0.0.0' : '::', ipv6Only: false };
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
    this.#pace.sweep();
  }

  close(): void {
    this.#stop.abort();
    this.#server.close();
    for (const client of this.#clients) client.close();
    this.#lane.close();
  }

  /** Rules let only clients of the conduit come here; where they are not loaded, this is what is left. */
  #connected(socket: Socket): void {
    const { book, clock, conduit, target } = this.#deps;
    // Gone before it was taken, as a knock is that got through: where it came from cannot be asked any more.
    if (socket.remoteAddress === undefined) {
      socket.destroy();
      return;
    }
    const address = plain(socket.remoteAddress);
    if (this.#knock.isAt({ local: plain(socket.localAddress), remote: address })) {
      socket.on('error', () => {});
      socket.destroy();
      return;
    }
    if (!isClient(conduit, target, address)) {
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
      onRequest: (asked, from) => this.#asked(asked, from),
      onBroken: () => {
        book.counters.broken += 1;
        book.tell('guard-broken', 'guard: something that is not Modbus TCP, connection closed', {
          ...this.#facts(address),
        });
      },
      onGone: () => {
        this.#clients.delete(client);
        this.#lane.leave(client);
      },
    });
    this.#clients.add(client);
    void this.#admit(client);
  }

  /** Nothing of what it says is looked at before it is certain that it means the device of this listener. */
  async #admit(client: Client): Promise<void> {
    const { book, target } = this.#deps;
    const error = await this.#knock.refusal();
    if (error === undefined) return client.begin();
    if (!this.#clients.has(client)) return;
    client.close();
    book.counters.refused += 1;
    book.tell(
      'guard-outdated',
      'guard: the rules in force are of another gateway.yaml, the connection is closed; load the rules or start the gateway again',
      { ...this.#facts(client.address), port: target.listener, error },
    );
  }

  /**
   * The one that has not been used for longest goes (Messaging Guide V1.0b, 4.2.2): of the same address, or of the one
   * that has most, so that nobody with a few is pushed out by somebody with many. Before them go those that never asked
   * for anything: addresses cost nothing, and a connection that is new has not been used.
   */
  #makeRoom(address: string): void {
    const { book } = this.#deps;
    const crowds = Map.groupBy(this.#clients, (client) => client.address);
    const own = crowds.get(address) ?? [];
    const isOne = own.length >= MOST_OF_ONE_ADDRESS;
    if (!isOne && this.#clients.size < MOST_CLIENTS) return;
    const most = isOne ? own.length : Math.max(...crowds.values().map(({ length }) => length));
    const all = isOne ? own : [...this.#clients];
    const silent = all.filter(({ hasAsked }) => !hasAsked);
    const crowd =
      silent.length > 0 ? silent : all.filter(({ address: one }) => crowds.get(one)?.length === most);
    book.counters.refused += 1;
    const [idlest] = crowd.toSorted((a, b) => a.idleSince - b.idleSince);
    if (idlest === undefined) return;
    idlest.close();
    book.tell('guard-crowded', 'guard: too many connections, the idlest one is closed', {
      ...this.#facts(idlest.address),
      connections: this.#clients.size + 1,
      for: address,
    });
  }

  #asked(asked: Asked, client: Client): void {
    const { book, clock, conduit, target } = this.#deps;
    const { unit, pdu, since, answer, done } = asked;
    book.counters.requests += 1;
    const view = viewOf(pdu);
    const parsed = parseRequest(view, 0, pdu.length);
    const request = 'exception' in parsed ? undefined : parsed;
    const decision = decide({ guard: conduit.limits, units: target.units }, unit, parsed);
    if (!decision.allowed) {
      book.counters.forbidden += 1;
      const facts = { ...this.#facts(client.address), unit, function: pdu[0], ...requestFacts(request) };
      const observes = observesAt(conduit, clock.now());
      const what = observes ? 'guard: a request would be forbidden' : 'guard: a request is forbidden';
      book.tell(observes ? 'guard-would-forbid' : 'guard-forbidden', what, {
        ...facts,
        because: decision.because,
      });
      if (!observes) {
        void this.#refuse(client, () => answer(exception(pdu, decision.exception)));
        return;
      }
    }
    book.counters.forwarded += 1;
    this.#lane.ask(client, {
      unit,
      pdu,
      since,
      request,
      answer: (reply) => {
        if (typeof reply !== 'string') return answer(reply);
        if (reply === 'busy') {
          this.#tellBusy(client.address);
          return answer(exception(pdu, BUSY));
        }
        if (isBroadcast({ unit, request })) return done();
        book.counters.unanswered += 1;
        return answer(exception(pdu, NO_RESPONSE));
      },
    });
  }

  async #refuse(client: Client, answer: () => void): Promise<void> {
    const wait = this.#pace.wait(client.address);
    if (wait === 0) return answer();
    try {
      await this.#deps.clock.sleep(wait, this.#stop.signal);
    } catch (error) {
      // Its connection ends with the listener.
      if (!this.#stop.signal.aborted) throw error;
    }
    return answer();
  }

  #tellBusy(address: string): void {
    const { book } = this.#deps;
    book.counters.busy += 1;
    const own = [...this.#clients].filter((client) => client.address === address);
    book.tell('guard-busy', 'guard: a client asks for more than the device can answer', {
      ...this.#facts(address),
      connections: own.length,
      waiting: own.reduce((sum, client) => sum + client.pending, 0),
      waited: LONGEST_WAIT,
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

/** Without the clothes of IPv6 that a listener for both families gives an address of IPv4. */
const plain = (address: string | undefined): string => (address ?? '').replace(/^::ffff:(?=\d+\.)/, '');

function isClient({ clients }: GuardedConduit, { family }: GuardTarget, text: string): boolean {
  const address = parseAddress(text);
  if (address?.family !== family) return false;
  const ranges = address.family === 4 ? clients.v4 : clients.v6;
  return ranges.some(({ low, high }) => low <= address.value && address.value <= high);
}
