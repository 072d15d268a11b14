import { connect, type Socket } from 'node:net';
import type { Test } from 'tap';
import type { ModbusGuard } from '../../src/config/config.ts';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import type { Facts } from '../../src/core/log.ts';
import { milliseconds } from '../../src/core/units.ts';
import { modbusGuard } from '../../src/drivers/modbus/guard/guard.ts';
import type { GuardedConduit } from '../../src/segmentation/guards.ts';
import { addressesOf } from '../../src/segmentation/plant.ts';
import { HostileModbus, type WireRequest } from '../support/hostile-modbus.ts';
import { accepts, freeTcpPort } from '../support/ports.ts';
import { runTask } from '../support/run-task.ts';
import { until } from '../support/wait.ts';

export interface Told {
  readonly what: string;
  readonly facts: Facts;
}

/** A guard on loopback, with a device behind it that notes every request that it really gets. */
export interface GuardBed {
  readonly port: number;
  readonly device: HostileModbus;
  readonly told: Told[];
  readonly events: Told[];
  readonly guard: ReturnType<typeof modbusGuard>;
}

export interface Wanted {
  readonly limits?: Partial<ModbusGuard>;
  readonly units?: GuardedConduit['targets'][number]['units'];
  readonly clients?: string;
  readonly observes?: GuardedConduit['observes'];
  readonly clock?: Clock;
  readonly answer?: (request: WireRequest) => void;
  readonly timeout?: number;
  readonly inFlight?: number;
}

const READ: ModbusGuard['read'] = [
  { table: 'holding', low: 0, high: 99 },
  { table: 'coil', low: 0, high: 15 },
  { table: 'coil', low: 16, high: 31 },
];

export async function guardBed(t: Test, wanted: Wanted = {}): Promise<GuardBed> {
  const device = await HostileModbus.listen(wanted.answer ?? answered);
  t.teardown(async () => device.close());
  const port = await freeTcpPort('0.0.0.0');
  const conduit: GuardedConduit = {
    name: 'conduit-supervision-control-0',
    path: 'conduits[0]',
    from: 'supervision',
    to: 'control',
    clients: addressesOf([wanted.clients ?? '127.0.0.0/8']),
    limits: { grade: 'enforced', units: undefined, read: READ, write: [], ...wanted.limits },
    observes: wanted.observes,
    targets: [
      {
        devices: ['press-1'],
        host: '127.0.0.1',
        family: 4,
        address: 0x7f00_0001n,
        port: device.port,
        listener: port,
        knock: { from: 0x7f80_0001n, to: 0x7f80_0002n },
        units: wanted.units ?? [{ low: 0, high: 255 }],
        inFlight: wanted.inFlight ?? 1,
        timeout: milliseconds(wanted.timeout ?? 2_000),
      },
    ],
  };
  const told: Told[] = [];
  const events: Told[] = [];
  const note = (what: string, facts: Facts = {}): void => void told.push({ what, facts });
  const guard = modbusGuard({
    guards: [conduit],
    clock: wanted.clock ?? systemClock,
    log: { info: note, warn: note, error: note },
    onEvent: (what, subject, facts) => events.push({ what: `${what} ${subject}`, facts }),
  });
  runTask(t, guard);
  await until('the guard listens', async () => (await accepts(port)) || guard.counters.refused > 0);
  return { port, device, told, events, guard };
}

/** Answers as the specification says, with 7 in every register. */
export function answered(request: WireRequest): void {
  const { pdu, socket, quantity } = request;
  const code = pdu[0] ?? 0;
  const body =
    code <= 2
      ? [code, (quantity + 7) >> 3, ...Array.from({ length: (quantity + 7) >> 3 }, () => 0)]
      : code <= 4 || code === 0x17
        ? [code, quantity * 2, ...Array.from({ length: quantity }, () => [0, 7]).flat()]
        : [...pdu.subarray(0, code === 0x16 ? 7 : 5)];
  socket.write(adu(request.id, request.unit, body));
}

/** Bytes from the specification (Messaging Guide V1.0b, 3.1.3), not through our encoder. */
export function adu(id: number, unit: number, pdu: readonly number[], length = pdu.length + 1): Buffer {
  return Buffer.from([id >> 8, id & 255, 0, 0, length >> 8, length & 255, unit, ...pdu]);
}

/** A client that speaks in bytes, and takes frames apart by itself. */
export class RawClient {
  readonly frames: Buffer[] = [];
  closed = false;
  readonly socket: Socket;
  #held = Buffer.alloc(0);

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#held = Buffer.concat([this.#held, chunk]);
      while (this.#held.length >= 6 && this.#held.length >= 6 + this.#held.readUInt16BE(4)) {
        const end = 6 + this.#held.readUInt16BE(4);
        this.frames.push(this.#held.subarray(0, end));
        this.#held = this.#held.subarray(end);
      }
    });
    socket.on('error', () => {});
    socket.on('close', () => (this.closed = true));
  }

  static async to(t: Test, port: number, from = '127.0.0.1'): Promise<RawClient> {
    const socket = connect({
      port,
      host: '127.0.0.1',
      localAddress: from,
      noDelay: true,
      allowHalfOpen: true,
    });
    t.teardown(() => socket.destroy());
    const client = new RawClient(socket);
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    return client;
  }

  async ask(id: number, unit: number, pdu: readonly number[]): Promise<number[]> {
    this.socket.write(adu(id, unit, pdu));
    return this.reply(id);
  }

  /** The PDU that answers transaction `id`. */
  async reply(id: number): Promise<number[]> {
    const frame = await until(`an answer to ${id}`, () =>
      this.frames.find((one) => one.readUInt16BE(0) === id),
    );
    return [...frame.subarray(7)];
  }
}
