import type { Config, PointConfig } from '../config/config.ts';
import type { PointValue } from '../core/batch.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import { type Log, silentLog } from '../core/log.ts';
import { type Duration, milliseconds } from '../core/units.ts';
import { CoapDevice } from './coap-device.ts';
import { type CoapServing, serveCoap } from './coap-server.ts';
import { type Fault, Faults } from './fault.ts';
import { serveModbus } from './modbus-server.ts';
import { type Pusher, startPusher } from './push.ts';
import { TICK, signalAt } from './signal.ts';
import { UnitMemory } from './unit.ts';

export interface PlantOptions {
  /** The plant stops when it is aborted. */
  readonly signal: AbortSignal;
  readonly log?: Log;
  /** Another number, another plant; the same number, the same values at the same time. Default 1. */
  readonly seed?: number;
  readonly faults?: Readonly<Record<string, Fault>>;
  /** How late a slow device is; default 2 s. */
  readonly slowBy?: Duration;
  readonly clock?: Clock;
}

/** What listens where, for a person. */
export interface Place {
  /** `modbus-tcp://127.20.20.12:1502`. */
  readonly address: string;
  /** `meter-hall-a (unit 1)`. */
  readonly devices: readonly string[];
}

export interface Plant {
  readonly seed: number;
  readonly places: readonly Place[];
  /** Devices whose protocol cannot be simulated (serial lines, DTLS, RTU over TCP). */
  readonly left: readonly string[];
  /** Switches a fault of a device on, or off with undefined. */
  fault(device: string, fault: Fault | undefined): void;
  /** What a device would serve for a point that nobody wrote to. */
  signal(point: PointConfig): PointValue;
  /** Answers of the gateway to what the devices pushed, by code. */
  answers(): ReadonlyMap<string, number>;
  readonly observers: number;
  /** Resolves when the plant has stopped and everything is closed. */
  readonly stopped: Promise<void>;
}

const DEFAULT_SEED = 1;
const SIMULATED: ReadonlySet<string> = new Set(['modbus-tcp', 'coap']);

/**
 * Starts a server for every endpoint of the configuration. Resolves when all of them listen.
 * @throws SluiceError SETUP where one cannot; nothing is left running then.
 */
export async function startPlant(config: Config, options: PlantOptions): Promise<Plant> {
  const { signal, log = silentLog, seed = DEFAULT_SEED, clock = systemClock } = options;
  const faults = new Faults(options.slowBy);
  for (const [device, fault] of Object.entries(options.faults ?? {})) faults.set(device, fault);
  const parts: Parts = { places: [], coap: [], pushers: [], stops: [] };
  const left = config.devices
    .filter(({ endpoint }) => !SIMULATED.has(endpoint.protocol))
    .map(({ name }) => name);
  try {
    signal.throwIfAborted();
    await serveAllModbus(config, parts, { faults, clock, seed });
    await serveAllCoap(config, parts, { faults, clock, seed });
  } catch (error) {
    await stopAll(parts);
    throw error;
  }
  if (left.length > 0) log.warn('not simulated', { devices: left.join(', ') });
  return {
    seed,
    places: parts.places,
    left,
    fault: (device, fault) => faults.set(device, fault),
    signal: (point) => signalAt(point, clock.now(), seed),
    answers: () => totals(parts.pushers),
    get observers() {
      return parts.coap.reduce((sum, { observers }) => sum + observers, 0);
    },
    stopped: untilAborted(parts, clock, signal),
  };
}

interface Parts {
  readonly places: Place[];
  readonly coap: CoapServing[];
  readonly pushers: Pusher[];
  readonly stops: (() => Promise<void>)[];
}

interface Making {
  readonly faults: Faults;
  readonly clock: Clock;
  readonly seed: number;
}

interface Hosted {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly unit: number;
  readonly points: readonly PointConfig[];
}

async function serveAllModbus(config: Config, parts: Parts, { faults, clock, seed }: Making): Promise<void> {
  const endpoints = Map.groupBy(
    hosted(config, 'modbus-tcp'),
    ({ host, port }) => `modbus-tcp://${inUrl(host)}:${port}`,
  );
  for (const [address, devices] of endpoints) {
    const [first] = devices;
    if (first === undefined) continue;
    const units = new Map(
      devices.map(({ name, unit, points }) => [unit, new UnitMemory(name, points, seed)]),
    );
    parts.stops.push(await serveModbus({ host: first.host, port: first.port, units }, faults, clock));
    parts.places.push({ address, devices: devices.map(({ name, unit }) => `${name} (unit ${unit})`) });
  }
}

async function serveAllCoap(config: Config, parts: Parts, { faults, clock, seed }: Making): Promise<void> {
  for (const { name, host, port, points } of hosted(config, 'coap')) {
    const device = new CoapDevice(name, points, seed);
    const server = await serveCoap(device, host, port, faults, clock);
    parts.coap.push(server);
    parts.stops.push(async () => server.stop());
    let says = name;
    if (device.pushes.length > 0 && config.coap !== undefined) {
      const { listen } = config.coap;
      const pusher = await startPusher(device, host, listen, faults);
      parts.pushers.push(pusher);
      parts.stops.push(async () => pusher.stop());
      says += ` (pushes to coap://${inUrl(listen.host)}:${listen.port})`;
    }
    parts.places.push({ address: `coap://${inUrl(host)}:${port}`, devices: [says] });
  }
}

function hosted(config: Config, protocol: 'modbus-tcp' | 'coap'): Hosted[] {
  return config.devices.flatMap(({ name, endpoint, points: indices }) => {
    if (endpoint.protocol !== protocol || !('host' in endpoint)) return [];
    const points = indices.flatMap((index) => config.points[index] ?? []);
    const unit = 'unit' in endpoint ? endpoint.unit : 0;
    return [{ name, host: endpoint.host, port: endpoint.port, unit, points }];
  });
}

/** Every full second: observers are told, pushing devices push. */
async function untilAborted(parts: Parts, clock: Clock, signal: AbortSignal): Promise<void> {
  try {
    while (!signal.aborted) {
      const now = clock.now();
      for (const server of parts.coap) server.notify(now);
      for (const pusher of parts.pushers) pusher.push(now);
      await clock.sleep(milliseconds(TICK - (now % TICK)), signal);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    await stopAll(parts);
  }
}

async function stopAll({ stops }: Parts): Promise<void> {
  await Promise.all(stops.map(async (stop) => stop()));
}

function totals(pushers: readonly Pusher[]): ReadonlyMap<string, number> {
  const sums = new Map<string, number>();
  for (const { answers } of pushers) {
    for (const [code, count] of answers) sums.set(code, (sums.get(code) ?? 0) + count);
  }
  return sums;
}

function inUrl(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}
