import { once } from 'node:events';
import { Server, Socket } from 'node:net';
import { type IServiceVector, ServerTCP } from 'modbus-serial';
import type { Clock } from '../core/clock.ts';
import type { ModbusTable } from '../config/config.ts';
import type { Faults } from './fault.ts';
import { cannotListen } from './listen.ts';
import type { UnitMemory } from './unit.ts';

// Modbus Application Protocol V1.1b3, section 7.
const ILLEGAL_DATA_ADDRESS = 0x02;
const SERVER_DEVICE_FAILURE = 0x04;
/** What a bridge answers for a unit that is not behind it. */
const GATEWAY_TARGET_FAILED = 0x0b;

/** Modbus Messaging Guide V1.0b, 3.1.3: the unit identifier follows six bytes. */
const UNIT_AT = 6;
const LONGEST_WRITE_ONE = 0xffff;
/** A plant floor has a handful of masters; a test that leaks connections should see it. */
const MOST_CONNECTIONS = 64;
/** All units of the server; each request is then looked up by us. */
const ANY_UNIT = 255;

export interface ModbusEndpoint {
  readonly host: string;
  readonly port: number;
  readonly units: ReadonlyMap<number, UnitMemory>;
}

class ModbusException extends Error {
  readonly modbusErrorCode: number;
  constructor(code: number) {
    super(`exception ${code}`);
    this.modbusErrorCode = code;
  }
}

/** Serves the units of one endpoint. Resolves when it listens; answers how to stop it. */
export async function serveModbus(
  endpoint: ModbusEndpoint,
  faults: Faults,
  clock: Clock,
): Promise<() => Promise<void>> {
  const { host, port, units } = endpoint;
  const server = new ServerTCP(vectorOf(units, faults, clock), { host, port, unitID: ANY_UNIT });
  const listener = listenerOf(server);
  listener.maxConnections = MOST_CONNECTIONS;
  // Before the library's own listener, so that every reply goes through the faults.
  listener.prependListener('connection', (socket: Socket) => misbehave(socket, units, faults));
  server.on('socketError', () => {}); // a master that resets is no matter of the plant
  const failure = once(listener, 'error');
  const outcome: unknown = await Promise.race([
    once(server, 'initialized').then(() => undefined),
    failure.then(([error]: unknown[]) => error),
  ]);
  if (outcome !== undefined) {
    throw cannotListen(
      [...units.values()].map(({ device }) => device),
      'modbus-tcp',
      host,
      port,
      outcome,
    );
  }
  return async () => new Promise((resolve) => server.close(() => resolve()));
}

/** The library keeps its listener to itself, and only there can a reply be changed on its way out. */
function listenerOf(server: ServerTCP): Server {
  const listener: unknown = Reflect.get(server, '_server');
  if (listener instanceof Server) return listener;
  throw new TypeError('modbus-serial changed: there is no _server in ServerTCP');
}

function vectorOf(units: ReadonlyMap<number, UnitMemory>, faults: Faults, clock: Clock): IServiceVector {
  const read = (table: ModbusTable, address: number, count: number, unit: number): number[] => {
    const words = memoryOf(units, unit, faults).read(table, address, count, clock.now());
    if (words === undefined) throw new ModbusException(ILLEGAL_DATA_ADDRESS);
    return [...words];
  };
  const write = (
    table: 'coil' | 'holding',
    address: number,
    values: readonly number[],
    unit: number,
  ): void => {
    if (!memoryOf(units, unit, faults).write(table, address, values))
      throw new ModbusException(ILLEGAL_DATA_ADDRESS);
  };
  return {
    getCoil: answered((address: number, unit: number) => read('coil', address, 1, unit)[0] === 1),
    getDiscreteInput: answered(
      (address: number, unit: number) => read('discrete', address, 1, unit)[0] === 1,
    ),
    getInputRegister: answered((address: number, unit: number) => read('input', address, 1, unit)[0] ?? 0),
    getHoldingRegister: answered(
      (address: number, unit: number) => read('holding', address, 1, unit)[0] ?? 0,
    ),
    // These two are not awaited, whatever their declaration says; here a throw becomes an exception reply.
    getMultipleInputRegisters: (address: number, count: number, unit: number) =>
      read('input', address, count, unit),
    getMultipleHoldingRegisters: (address: number, count: number, unit: number) =>
      read('holding', address, count, unit),
    setCoil: async (address: number, value: boolean, unit: number) =>
      write('coil', address, [value ? 1 : 0], unit),
    setRegister: async (address: number, value: number, unit: number) =>
      write('holding', address, [value & LONGEST_WRITE_ONE], unit),
    setRegisterArray: async (address: number, values: number[], unit: number) =>
      write('holding', address, values, unit),
  };
}

/** A promise, because the library turns a rejection into an exception reply, and a throw not everywhere. */
function answered<T>(
  read: (address: number, unit: number) => T,
): (address: number, unit: number) => Promise<T> {
  return async (address, unit) => read(address, unit);
}

function memoryOf(units: ReadonlyMap<number, UnitMemory>, unit: number, faults: Faults): UnitMemory {
  const memory = units.get(unit);
  if (memory === undefined) throw new ModbusException(GATEWAY_TARGET_FAILED);
  // Also before a write: a device that failed has not done it.
  if (faults.of(memory.device) === 'exception') throw new ModbusException(SERVER_DEVICE_FAILURE);
  return memory;
}

/** Each write of the library is one whole reply; the unit in it says whose fault applies. */
function misbehave(socket: Socket, units: ReadonlyMap<number, UnitMemory>, faults: Faults): void {
  const send = (reply: Buffer): boolean => !socket.destroyed && Socket.prototype.write.call(socket, reply);
  socket.on('error', () => {});
  socket.setNoDelay(true);
  Object.defineProperty(socket, 'write', {
    writable: true, // the socket replaces it itself when the other side has closed
    configurable: true,
    value: (reply: Buffer): boolean => {
      const device = units.get(reply[UNIT_AT] ?? -1)?.device;
      switch (device === undefined ? undefined : faults.of(device)) {
        case 'silence':
          return true;
        case 'slow':
          setTimeout(() => send(reply), faults.slowBy).unref();
          return true;
        case 'wrong-transaction':
          reply.writeUInt16BE((reply.readUInt16BE(0) + 1) & 0xffff, 0);
          return send(reply);
        case 'close':
          socket.destroy();
          return false;
        default:
          return send(reply);
      }
    },
  });
}
