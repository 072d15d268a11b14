import { generate, type ParsedPacket, parse } from 'coap-packet';
import * as fc from 'fast-check';
import t from 'tap';
import { Exchange } from '../../src/drivers/coap/exchange.ts';
import type { Outcome } from '../../src/drivers/coap/requests.ts';
import { GET } from '../../src/drivers/coap/message.ts';
import { pathOptions } from '../../src/drivers/coap/options.ts';
import { generator, Network } from './network.ts';

type Manner = 'piggybacked' | 'separate' | 'before the ACK' | 'non-confirmable';
const MANNERS: readonly Manner[] = ['piggybacked', 'separate', 'before the ACK', 'non-confirmable'];

/** A server by the letter of RFC 7252, with message IDs of its own, written with another codec. */
class StrictServer {
  handled = new Map<string, number>();
  #id: number;
  readonly #answers = new Map<number, Buffer>();
  readonly #unacknowledged = new Set<number>();
  readonly #network: Network;
  readonly #random: () => number;
  readonly #send: (datagram: Buffer) => void;

  constructor(network: Network, random: () => number, firstId: number, send: (datagram: Buffer) => void) {
    this.#network = network;
    this.#random = random;
    this.#id = firstId;
    this.#send = send;
  }

  receive(datagram: Buffer): void {
    const packet = parse(datagram);
    if (packet.ack || packet.reset) {
      this.#unacknowledged.delete(packet.messageId);
      return;
    }
    const before = this.#answers.get(packet.messageId);
    if (before !== undefined) this.#send(before);
    else this.#handle(packet);
  }

  #handle(packet: ParsedPacket): void {
    const path =
      packet.options.filter(({ name }) => name === 'Uri-Path').map(({ value }) => String(value))[0] ?? '';
    this.handled.set(path, (this.handled.get(path) ?? 0) + 1);
    const manner = MANNERS[Math.floor(this.#random() * MANNERS.length)] ?? 'piggybacked';
    const content = { code: '2.05', token: packet.token, payload: Buffer.from(`value of ${path}`) };
    const empty = generate({ code: '0.00', ack: true, messageId: packet.messageId });
    const piggybacked = generate({ ...content, ack: true, messageId: packet.messageId });
    this.#answers.set(packet.messageId, manner === 'piggybacked' ? piggybacked : empty);
    this.#id = (this.#id + 1) % 65_536;
    const messageId = this.#id;
    const slow = this.#random() * 4_000;
    switch (manner) {
      case 'piggybacked':
        this.#send(piggybacked);
        break;
      case 'separate':
        this.#send(empty);
        this.#network.after(slow, () =>
          this.#confirmable(generate({ ...content, confirmable: true, messageId }), messageId),
        );
        break;
      case 'before the ACK':
        this.#confirmable(generate({ ...content, confirmable: true, messageId }), messageId);
        this.#network.after(slow, () => this.#send(empty));
        break;
      case 'non-confirmable':
        this.#send(empty);
        this.#network.after(slow, () => this.#send(generate({ ...content, messageId })));
        break;
      default:
        manner satisfies never;
    }
  }

  #confirmable(datagram: Buffer, id: number, timeout = 2_000): void {
    this.#unacknowledged.add(id);
    this.#again(datagram, id, timeout, 0);
  }

  #again(datagram: Buffer, id: number, timeout: number, times: number): void {
    if (!this.#unacknowledged.has(id) || times > 4) return;
    this.#send(datagram);
    this.#network.after(timeout, () => this.#again(datagram, id, timeout * 2, times + 1));
  }
}

t.test(
  'whatever the network does, a request gets its own answer or none, and exactly one outcome',
  async (t) => {
    let answered = 0;
    let asked = 0;
    fc.assert(
      fc.property(
        fc.integer(),
        fc.constantFrom(0, 0.25, 0.5, 1),
        fc.constantFrom(0, 0.3),
        fc.constantFrom(0, 50, 3_000),
        (seed, loss, twice, delay) => {
          const random = generator(seed);
          const network = new Network(random, loss, twice, delay);
          const outcomes = new Map<string, Outcome[]>();
          const client = new Exchange({
            random,
            send: (datagram) => network.carry(() => server.receive(Buffer.from(datagram))),
          });
          // the same message IDs in both directions: tables of two directions must not meet
          const firstId = 65_530 + Math.floor(random() * 6);
          const server: StrictServer = new StrictServer(network, random, firstId, (datagram) =>
            network.carry(() => client.receive(datagram, network.now)),
          );
          for (let i = 0; i < 20; i++) {
            const name = `p${i}`;
            outcomes.set(name, []);
            network.after(random() * 60_000, () => {
              client.request(
                { code: GET, options: pathOptions(`/${name}`), limit: 93_000 },
                network.now,
                (outcome) => {
                  outcomes.get(name)?.push(outcome);
                },
              );
            });
          }
          network.run(
            1_000_000,
            () => client.nextDue,
            () => client.tick(network.now),
          );
          client.tick(network.now);

          for (const [name, all] of outcomes) {
            asked += 1;
            if (all.length !== 1) throw new Error(`${name} has ${all.length} outcomes`);
            const [outcome] = all;
            if (outcome?.kind === 'response') {
              answered += 1;
              const text = Buffer.from(outcome.message.payload).toString();
              if (text !== `value of ${name}`) throw new Error(`${name} got ${text}`);
              if (loss === 1) throw new Error('an answer through a cut wire');
            } else if (loss === 0 && delay < 100)
              throw new Error(`${name}: ${outcome?.kind} on a good network`);
            if ((server.handled.get(name) ?? 0) > 1) throw new Error(`${name} was handled twice`);
          }
          if (client.remembered !== 0) throw new Error(`${client.remembered} entries stay behind`);
        },
      ),
      { numRuns: 250 },
    );
    t.ok(answered > asked * 0.4, `${answered} of ${asked} answered`);
  },
);
