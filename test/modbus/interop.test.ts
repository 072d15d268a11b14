import { ServerTCP } from 'modbus-serial';
import t from 'tap';
import type { PointValue } from '../../src/core/batch.ts';
import { lineTo, never, readAll } from '../support/modbus-line.ts';
import {
  libmodbusSlave,
  mbpoll,
  mbpollValues,
  missingLibmodbus,
  missingPymodbus,
  pymodbusRead,
  pymodbusSlave,
} from '../support/modbus-peers.ts';
import type { PointSketch } from '../support/modbus-points.ts';
import { missingPeer } from '../support/peer.ts';
import { freeTcpPort } from '../support/ports.ts';

const withoutLibmodbus = missingLibmodbus() || missingPeer('mbpoll', 'mbpoll');
const withoutPymodbus = missingPymodbus();

/** A double as JSON shows it, a wide integer as its digits. */
const comparable = (text: string): PointValue => {
  const number = Number(text);
  return text === '' || Number.isNaN(number) || !(Number.isSafeInteger(number) || text.includes('.'))
    ? text
    : number;
};

t.test('pymodbus as slave: every type in every byte order', { skip: withoutPymodbus }, async (t) => {
  const peer = await pymodbusSlave('mbap');
  t.teardown(peer.stop);
  const sketches = peer.layout.map(({ address, type, order, value }) => {
    return { address, type, order, characters: type === 'string' ? value.length : 0 };
  });
  const line = await lineTo(peer.port, sketches);
  t.teardown(() => line.close());

  const values = await readAll(line);

  t.equal(values.length, 33);
  peer.layout.forEach(({ value, type, order }, i) =>
    t.equal(values[i], comparable(value), `${type} ${order}`),
  );
  t.equal(line.polls.length, 1, 'one request for all of them');
});

t.test(
  'pymodbus as slave: what we write, its master reads; what we read back is the same',
  { skip: withoutPymodbus },
  async (t) => {
    const peer = await pymodbusSlave('mbap');
    t.teardown(peer.stop);
    const written = peer.layout.filter(({ type }) => type !== 'string').filter((_, i) => i % 3 === 0);
    const line = await lineTo(
      peer.port,
      written.map(({ type, order }, i) => ({ address: 700 + i * 4, type, order })),
    );
    t.teardown(() => line.close());

    for (const [i, { type, order, value }] of written.entries()) {
      await line.write(i, comparable(value), never);
      t.equal(await line.readBack(i, never), comparable(value), `${type} ${order}`);
      const seen = pymodbusRead(peer.port, 700 + i * 4, type, order);
      t.equal(
        type === 'float32' ? Math.fround(Number(seen)) : seen,
        type === 'float32' ? Math.fround(230.1) : value,
      );
    }
  },
);

t.test(
  'pymodbus as slave: the four tables, and a unit that is not there',
  { skip: withoutPymodbus },
  async (t) => {
    const peer = await pymodbusSlave('mbap');
    t.teardown(peer.stop);
    const points: readonly PointSketch[] = [
      ...Array.from({ length: 2001 }, (_, i) => ({ table: 'coil', address: 999 + i }) as const),
      ...Array.from({ length: 20 }, (_, i) => ({ table: 'discrete', address: 5 + i }) as const),
      { table: 'input', address: 999 - 100, type: 'int16' },
      { address: 5000 },
    ];
    const line = await lineTo(peer.port, points);
    t.teardown(() => line.close());

    const values = await readAll(line);

    for (let i = 0; i < 2001; i++) if (values[i] !== ((999 + i) % 3 === 0)) t.fail(`coil ${999 + i}`);
    for (let i = 0; i < 20; i++) t.equal(values[2001 + i], (5 + i) % 3 !== 0);
    t.equal(values[2021], -12_345);
    t.equal(values[2022], '<illegal data address>');
    t.strictSame(
      line.polls.map(({ quantity }) => quantity).toSorted((a, b) => a - b),
      [1, 1, 1, 20, 2000],
    );
  },
);

t.test(
  'libmodbus as slave, mbpoll as master: what either writes the other reads',
  { skip: withoutLibmodbus },
  async (t) => {
    const peer = await libmodbusSlave();
    t.teardown(peer.stop);
    mbpoll(peer.port, ['-t', '4', '-r', '100'], [11, 22, 65_535]);
    mbpoll(peer.port, ['-t', '4:float', '-B', '-r', '110'], [230.1]);
    mbpoll(peer.port, ['-t', '4:float', '-r', '112'], [-0.07]);
    mbpoll(peer.port, ['-t', '4:int', '-B', '-r', '114'], [-123_456_789]);
    mbpoll(peer.port, ['-t', '0', '-r', '7'], [1]);
    const points: readonly PointSketch[] = [
      { address: 100 },
      { address: 101 },
      { address: 102, type: 'int16' },
      { address: 110, type: 'float32' },
      { address: 112, type: 'float32', order: 'CDAB' },
      { address: 114, type: 'int32' },
      { table: 'coil', address: 6 },
      { table: 'coil', address: 7 },
      { table: 'input', address: 40 },
      { table: 'discrete', address: 39 },
      { address: 200, bit: 9 },
      { address: 200, bit: 0 },
      { address: 201, type: 'string', characters: 5 },
      { address: 210, type: 'float32', scale: 0.5, offset: -10 },
    ];
    const line = await lineTo(peer.port, points);

    const values = await readAll(line);
    await line.write(0, 4711, never);
    await line.write(3, 49.98, never);
    await line.write(5, -5, never);
    await line.write(6, true, never);
    await line.write(7, false, never);
    await line.write(10, true, never);
    await line.write(11, true, never);
    await line.write(10, false, never);
    await line.write(12, 'PM53', never);
    await line.write(13, 12.5, never);
    const back = [
      await line.readBack(12, never),
      await line.readBack(13, never),
      await line.readBack(11, never),
    ];
    await line.close(); // the slave takes one connection at a time

    t.strictSame(values.slice(0, 10), [11, 22, -1, 230.1, -0.07, -123_456_789, false, true, 280, true]);
    t.strictSame(back, ['PM53', 12.5, true]);
    const read = (...args: readonly string[]) => mbpollValues(mbpoll(peer.port, args));
    t.strictSame(read('-t', '4', '-r', '100'), ['4711']);
    t.strictSame(read('-t', '4:float', '-B', '-r', '110'), ['49.98']);
    t.strictSame(read('-t', '4:int', '-B', '-r', '114'), ['-5']);
    t.strictSame(read('-t', '0', '-r', '6', '-c', '2'), ['1', '0']);
    t.strictSame(read('-t', '4', '-r', '200'), ['1']);
    t.strictSame(read('-t', '4:hex', '-r', '201', '-c', '3'), ['0x504D', '0x3533', '0x0000']);
    t.strictSame(read('-t', '4:float', '-B', '-r', '210'), ['45']);
  },
);

t.test(
  'libmodbus as slave: only the points that it does not have are bad',
  { skip: withoutLibmodbus },
  async (t) => {
    const peer = await libmodbusSlave();
    t.teardown(peer.stop);
    const points = Array.from({ length: 60 }, (_, i) => ({ table: 'input', address: 2960 + i }) as const);
    const line = await lineTo(peer.port, points);

    const first = await readAll(line);
    const second = await readAll(line);
    let requests = 0;
    do {
      requests = line.counters.requests;
      await readAll(line);
    } while (line.counters.requests - requests > 2);
    const last = await readAll(line);
    await line.close();

    const right = points.map(({ address }) => (address < 3000 ? address * 7 : '<illegal data address>'));
    t.ok(first.every((value) => value === '<illegal data address>'));
    t.strictSame(second.slice(0, 30), right.slice(0, 30), 'half of them with the next poll');
    t.strictSame(last, right);
    t.ok(line.counters.requests - requests <= 4, 'two requests a poll at most, once the holes are known');
  },
);

t.test('modbus-serial as slave: the four tables, both ways', async (t) => {
  const port = await freeTcpPort();
  const registers = new Map<number, number>();
  const coils = new Map<number, boolean>();
  const server = new ServerTCP(
    {
      getCoil: (address: number) => coils.get(address) ?? false,
      getDiscreteInput: (address: number) => address % 2 === 1,
      getHoldingRegister: (address: number) => registers.get(address) ?? 0,
      getInputRegister: (address: number) => address + 1,
      setCoil: async (address: number, on: boolean) => void coils.set(address, on),
      setRegister: async (address: number, value: number) => void registers.set(address, value),
    },
    { host: '127.0.0.1', port, unitID: 1 },
  );
  await new Promise((resolve) => server.once('initialized', resolve));
  const points: readonly PointSketch[] = [
    { table: 'coil', address: 3 },
    { table: 'discrete', address: 4 },
    { table: 'discrete', address: 5 },
    { table: 'input', address: 9 },
    { address: 20, type: 'float32', order: 'CDAB' },
    { address: 22 },
  ];
  const line = await lineTo(port, points);
  t.teardown(async () => {
    await line.close();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  });

  await line.write(0, true, never);
  await line.write(4, 21.5, never);
  await line.write(5, 77, never);

  t.strictSame(await readAll(line), [true, false, true, 10, 21.5, 77]);
  t.strictSame(
    [...registers],
    [
      [20, 0x0000],
      [21, 0x41ac],
      [22, 77],
    ],
  );
});
