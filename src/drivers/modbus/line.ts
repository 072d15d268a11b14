import type { DeviceConfig, Endpoint, PointConfig } from '../../config/config.ts';
import { BatchBuilder, type PointValue, valueAt } from '../../core/batch.ts';
import type { Clock } from '../../core/clock.ts';
import { SluiceError } from '../../core/errors.ts';
import type { Log } from '../../core/log.ts';
import { REASONS } from '../../core/quality.ts';
import type { Line, Poll, Scan } from '../driver.ts';
import { type ModbusPoint, modbusPoints, type ModbusPoll, planPolls } from './plan.ts';
import { type Counters, zeroCounters } from './counters.ts';
import { PartedReading } from './parted.ts';
import { type ReadDependencies, type Reading, ReadExchange, readingOf } from './reading.ts';
import { RtuWire } from './rtu.ts';
import { type Connection, openConnection } from './transport.ts';
import { MbapWire, type Wire } from './wire.ts';
import { type Target, writeValue } from './writing.ts';

export interface ModbusLine extends Line {
  readonly polls: readonly ModbusPoll[];
  readonly counters: Readonly<Counters>;
  write(point: number, value: PointValue, signal: AbortSignal): Promise<void>;
  readBack(point: number, signal: AbortSignal): Promise<PointValue>;
}

/** What a poll does, and whether its device turned out to lack some of the points. */
interface Job {
  readonly reading: Reading;
  readonly reads: ReadDependencies;
  parted: PartedReading | undefined;
}

interface Dependencies {
  readonly clock: Clock;
  readonly log: Log;
}

type TcpEndpoint = Extract<Endpoint, { readonly inFlight: number }>;

/**
 * The line of all devices behind one `modbus-tcp` or `modbus-rtu-tcp` endpoint; `points` is the whole table of the
 * configuration.
 */
export function modbusLine(
  devices: readonly DeviceConfig[],
  points: readonly PointConfig[],
  deps: Dependencies,
): ModbusLine {
  return new TcpLine(devices, points, deps);
}

class TcpLine implements ModbusLine {
  readonly endpoint: string;
  readonly inFlight: number;
  readonly polls: readonly ModbusPoll[];
  readonly counters: Counters = zeroCounters();
  readonly #address: TcpEndpoint;
  readonly #deps: Dependencies;
  readonly #jobs: ReadonlyMap<Poll, Job>;
  readonly #devices: readonly DeviceConfig[];
  readonly #points: readonly PointConfig[];
  readonly #units: number;
  /** Outlives the connection: see RtuWire. */
  readonly #serialWire: Wire | undefined;
  #connection: Connection | undefined;
  #lastWrite: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(devices: readonly DeviceConfig[], points: readonly PointConfig[], deps: Dependencies) {
    const endpoints = devices.map(({ endpoint }) => tcpEndpoint(endpoint));
    const address = endpoints[0];
    if (address === undefined) throw new Error('a Modbus line without devices');
    this.#address = address;
    this.#devices = devices;
    this.#points = points;
    this.#deps = deps;
    this.endpoint = `${address.protocol}://${hostText(address.host)}:${address.port}`;
    const serial = address.protocol === 'modbus-rtu-tcp';
    this.#serialWire = serial ? new RtuWire(deps.clock) : undefined;
    this.inFlight = serial ? 1 : Math.min(...endpoints.map(({ inFlight }) => inFlight));
    this.polls = planPolls(devices, points);
    this.#units = new Set(this.polls.map(({ unitId }) => unitId)).size;
    this.#jobs = new Map(this.polls.map((poll) => [poll, this.#jobOf(poll)]));
  }

  async connect(signal: AbortSignal): Promise<void> {
    if (this.#connection?.lost === undefined && this.#connection !== undefined) return;
    const { host, port } = this.#address;
    const { clock } = this.#deps;
    const { endpoint, counters } = this;
    const connection = await openConnection(
      { endpoint, host, port, units: this.#units, wire: this.#serialWire ?? new MbapWire(), clock, counters },
      signal,
    );
    this.#connection = connection;
    if (this.#closed) connection.lose(`${endpoint}: closed by the gateway`);
  }

  poll(poll: Poll, into: BatchBuilder, { signal, stamp }: Scan): Promise<void> {
    const job = this.#jobs.get(poll);
    if (job === undefined) return Promise.reject(new Error(`${poll.what} is no poll of ${this.endpoint}`));
    if (signal.aborted) return Promise.reject(signal.reason);
    const connection = this.#connection;
    if (connection === undefined) return Promise.reject(this.#notConnected());
    const sink = { into, stamp };
    if (job.parted !== undefined) return job.parted.read(connection, sink);
    const exchange = new ReadExchange(job.reading, sink, job.reads);
    return connection.exchange(exchange);
  }

  /** One write at a time: a bit that has to be read, changed and written must not meet its neighbour half-way. */
  async write(point: number, value: PointValue, signal: AbortSignal): Promise<void> {
    const before = this.#lastWrite;
    const mine = Promise.withResolvers<void>();
    this.#lastWrite = mine.promise;
    try {
      await before;
      signal.throwIfAborted();
      const { clock } = this.#deps;
      await writeValue(this.#target(point), value, {
        connection: this.#open(),
        clock,
        counters: this.counters,
      });
    } finally {
      mine.resolve();
    }
  }

  async readBack(index: number, signal: AbortSignal): Promise<PointValue> {
    signal.throwIfAborted();
    const target = this.#target(index);
    const into = new BatchBuilder();
    const reading = readingOf(target.of, [target]);
    const sink = { into, stamp: () => this.#deps.clock.now() };
    await this.#open().exchange(
      new ReadExchange(reading, sink, { counters: this.counters, onHole: () => {} }),
    );
    const batch = into.take();
    const value = batch === undefined ? null : valueAt(batch, 0);
    if (value !== null) return value;
    const reason = REASONS[batch?.reasons[0] ?? 0] ?? 'refused';
    throw new SluiceError('DEVICE_REFUSED', `${this.endpoint} answered the ${reading.what}: ${reason}`, {
      reason,
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#connection?.lose(`${this.endpoint}: closed by the gateway`);
  }

  #jobOf(poll: ModbusPoll): Job {
    const of = { endpoint: this.endpoint, unit: poll.unitId, timeout: poll.timeout };
    const { counters } = this;
    const wanted = (): readonly ModbusPoint[] => modbusPoints(poll.points, this.#points);
    const findHoles = (exception: number): void => {
      if (poll.points.length === 1) return;
      job.parted = new PartedReading(of, wanted(), exception, { ...this.#deps, counters });
    };
    const reads = { counters, onHole: findHoles };
    const job: Job = { reading: readingOf(of, wanted()), reads, parted: undefined };
    return job;
  }

  #target(index: number): Target {
    const device = this.#devices.find(({ points }) => points.includes(index));
    const [point] = modbusPoints([index], this.#points);
    if (device === undefined || point === undefined) {
      throw new Error(`point ${index} is not behind ${this.endpoint}`);
    }
    const { unit } = tcpEndpoint(device.endpoint);
    return { ...point, of: { endpoint: this.endpoint, unit, timeout: device.timeout } };
  }

  #open(): Connection {
    if (this.#connection !== undefined) return this.#connection;
    throw this.#notConnected();
  }

  #notConnected(): SluiceError {
    return new SluiceError('CONNECTION_LOST', `${this.endpoint} is not connected`);
  }
}

function tcpEndpoint(endpoint: Endpoint): TcpEndpoint {
  if ('inFlight' in endpoint) return endpoint;
  throw new Error(`${endpoint.protocol} is not Modbus over TCP`);
}

function hostText(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}
