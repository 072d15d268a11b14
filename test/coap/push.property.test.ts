import { generate, parse } from 'coap-packet';
import * as fc from 'fast-check';
import t from 'tap';
import { BatchBuilder } from '../../src/core/batch.ts';
import { PushServer } from '../../src/drivers/coap/push.ts';
import { generator, Network } from './network.ts';
import { plant, valuesOf } from './plant.ts';

const PUSHES = 15;

t.test('whatever the network does, a push is one sample, and what was answered 2.04 is there', async (t) => {
  let acknowledged = 0;
  fc.assert(
    fc.property(
      fc.integer(),
      fc.constantFrom(0, 0.25, 0.6),
      fc.constantFrom(0, 0.4),
      fc.constantFrom(10, 4_000),
      (seed, loss, twice, delay) => {
        const random = generator(seed);
        const network = new Network(random, loss, twice, delay);
        const { devices, points } = plant({
          name: 'd',
          port: 1,
          points: [{ name: 'p', mode: 'push', format: 'senml-json' }],
        });
        const into = new BatchBuilder();
        const server = new PushServer({ devices, points, into, random });
        server.setAddresses(new Map([['d', '10.0.0.1']]));
        const told = new Set<number>();
        const open = new Set<number>();

        // a device by the letter of RFC 7252, 4.2: retransmits until it has its ACK; blocks go one after the other
        const heard = new Map<number, (code: string) => void>();
        const deliver = (datagram: Buffer): void => {
          const answer = server.receive(datagram, { address: '10.0.0.1', port: 5_683 }, network.now, 0);
          if (answer === undefined) return;
          network.carry(() => {
            const { messageId, code } = parse(Buffer.from(answer));
            const hear = heard.get(messageId);
            heard.delete(messageId);
            open.delete(messageId);
            hear?.(code);
          });
        };
        let id = 65_530;
        const send = (
          text: string,
          block: readonly [number, boolean] | undefined,
          then: (code: string) => void,
        ): void => {
          id = (id + 1) % 65_536;
          const messageId = id;
          const value = block === undefined ? 0 : (block[0] << 4) | (block[1] ? 8 : 0);
          const options = [
            { name: 'Uri-Path' as const, value: Buffer.from('d') },
            { name: 'Uri-Path' as const, value: Buffer.from('p') },
            ...(block === undefined ? [] : [{ name: 'Block1' as const, value: Buffer.from([value]) }]),
          ];
          const datagram = generate({
            code: 'POST',
            confirmable: true,
            messageId,
            token: Buffer.from([1, 2]),
            options,
            payload: Buffer.from(text),
          });
          open.add(messageId);
          heard.set(messageId, then);
          const again = (timeout: number, times: number): void => {
            if (!open.has(messageId) || times > 4) return;
            network.carry(() => deliver(datagram));
            network.after(timeout, () => again(timeout * 2, times + 1));
          };
          again(2_000, 0);
        };
        const push = (n: number): void => {
          if (n >= PUSHES) return;
          const text = `[{"n":"the-name-of-it","v":${n}}]`;
          const next = (code: string): void => {
            if (code === '2.04') told.add(n);
          };
          if (n % 2 === 0) send(text, undefined, next);
          else {
            send(text.slice(0, 16), [0, true], (code) => {
              if (code === '2.31') send(text.slice(16), [1, false], next);
            });
          }
          network.after(random() * 100_000, () => push(n + 1));
        };
        push(0);
        network.run(
          3_000_000,
          () => Number.POSITIVE_INFINITY,
          () => {},
        );

        const values = valuesOf(into.take());
        if (new Set(values).size !== values.length) throw new Error(`a sample twice: ${values.join(' ')}`);
        for (const value of told)
          if (!values.includes(value)) throw new Error(`${value} was answered and is not there`);
        for (const value of values) {
          if (typeof value !== 'number' || value < 0 || value >= PUSHES)
            throw new Error(`nobody sent ${value}`);
        }
        if (loss === 0 && delay < 100 && told.size !== PUSHES) throw new Error('lost on a good network');
        acknowledged += told.size;
        server.expire(network.now + 300_000);
        if (server.remembered !== 0) throw new Error(`${server.remembered} entries stay behind`);
      },
    ),
    { numRuns: 150 },
  );
  t.ok(acknowledged > 150 * PUSHES * 0.4, `${acknowledged} acknowledged`);
});
