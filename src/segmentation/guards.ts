import { createHash } from 'node:crypto';
import type { Config, DeviceConfig, ModbusGuard, Selector, Span } from '../config/config.ts';
import { conduitNames } from '../config/conduits.ts';
import { parseAddress } from '../config/network.ts';
import { type EpochMs, epochMs } from '../core/units.ts';
import { type Addresses, addressesOf, isReachable, Plant, type Reachable } from './plant.ts';
import type { Knock } from './policy.ts';
import { isObserved } from './policy-at.ts';
import type { Family } from './ranges.ts';

// Which connections of a plant are looked into, request by request, and where on the gateway each of them ends. The
// rules and the proxy both ask here, so that they cannot disagree.

/**
 * Ports of the gateway for guarded connections, one for each conduit and address behind it: below those that
 * connections of its own begin at (32768 and up), and no port registered for a service of a plant.
 */
export const GUARD_PORTS = { low: 20_480, high: 24_575 } as const;

/** Where a guarded conduit ends. */
export interface GuardTarget {
  /** Devices of the conduit at this address. */
  readonly devices: readonly string[];
  readonly host: string;
  readonly family: Family;
  readonly address: bigint;
  readonly port: number;
  /** Port of the gateway that connections to it are led to; below 0 where packets are filtered. */
  readonly listener: number;
  /** How the gateway finds out whether the rules in force lead this target's connections there. */
  readonly knock: Knock;
  /** Units that may be asked. */
  readonly units: readonly Span[];
  /** Requests at a time that every device here can take. */
  readonly inFlight: number;
  /** Longest wait for one reply. */
  readonly timeout: DeviceConfig['timeout'];
}

export interface GuardedConduit {
  /** As its flows and counters are called. */
  readonly name: string;
  /** `conduits[0]` */
  readonly path: string;
  readonly from: string;
  readonly to: string;
  readonly clients: Addresses;
  readonly limits: ModbusGuard;
  /** What it would refuse passes all the same, and is told; undefined where it is refused. */
  readonly observes: { readonly until: EpochMs | undefined } | undefined;
  readonly targets: readonly GuardTarget[];
}

/** All guarded conduits, whatever their grade; none where segmentation is off. */
export function guardsOf(config: Config): GuardedConduit[] {
  return config.segmentation.mode === 'off' ? [] : guardsIn(new Plant(config));
}

export function guardsIn(plant: Plant): GuardedConduit[] {
  const { conduits } = plant.config;
  const names = conduitNames(conduits);
  const taken = takenPorts(plant.config);
  return conduits.flatMap((conduit, i) => {
    const { guard, from, to, only } = conduit;
    if (guard === undefined) return [];
    const { v4, v6 } = plant.side(from, partOf(plant, only.from));
    const clients = { v4, v6 };
    const observes = observationOf(plant.config, from, to);
    const head = { name: names[i] ?? '', path: `conduits[${i}]`, from, to, clients, limits: guard, observes };
    return [{ ...head, targets: targetsOf(head, only.to, plant.config, taken) }];
  });
}

/** As the rules have it: by mode, or for a while between two zones, whichever conduit says so. */
function observationOf(config: Config, from: string, to: string): GuardedConduit['observes'] {
  const { mode, observeUntil } = config.segmentation;
  if (mode === 'observe') return { until: observeUntil };
  const times = config.conduits.flatMap((one) =>
    one.from === from && one.to === to && one.observeUntil !== undefined ? [one.observeUntil] : [],
  );
  return times.length === 0 ? undefined : { until: epochMs(Math.max(...times)) };
}

/** A clock that lost its time observes nothing that has an end. */
export function observesAt({ observes }: GuardedConduit, now: EpochMs): boolean {
  return observes !== undefined && (observes.until === undefined || isObserved(observes.until, now));
}

function takenPorts({ mqtt }: Config): Set<number> {
  return new Set(mqtt.embedded === undefined ? [] : [mqtt.embedded.port]);
}

type Head = Omit<GuardedConduit, 'targets'>;

function targetsOf(
  head: Head,
  only: readonly Selector[],
  { devices }: Config,
  taken: Set<number>,
): GuardTarget[] {
  const speaking = devices.filter(isReachable).filter(({ endpoint }) => endpoint.protocol === 'modbus-tcp');
  const isMeant = (device: Reachable): boolean =>
    device.zone === head.to && (only.length === 0 || only.some((selector) => names(selector, device)));
  const places = new Map<string, Reachable[]>();
  for (const device of speaking) {
    const place = `${device.endpoint.host} ${device.endpoint.port}`;
    places.set(place, [...(places.get(place) ?? []), device]);
  }
  return [...places.values()].flatMap((here) => {
    const meant = here.filter(isMeant);
    const [first] = meant;
    if (first === undefined) return [];
    const { host, port } = first.endpoint;
    const address = parseAddress(host);
    if (address === undefined) return [];
    // Behind one address there may be devices of another conduit: then only the units of those that are meant.
    const units = head.limits.units ?? (meant.length === here.length ? ALL_UNITS : meant.flatMap(unitOf));
    const digest = digestOf({ ...head, units, host, port });
    const listener = head.limits.grade === 'filtered' ? NO_LISTENER : listenerOf(digest, taken);
    return [
      {
        devices: meant.map(({ name }) => name),
        host,
        family: address.family,
        address: address.value,
        port,
        listener,
        knock: knockOf(digest),
        units,
        inFlight: Math.min(...meant.map(({ endpoint }) => ('inFlight' in endpoint ? endpoint.inFlight : 1))),
        timeout: first.timeout,
      },
    ];
  });
}

/** Packets that are filtered are forwarded. */
const NO_LISTENER = -1;
const ALL_UNITS: readonly Span[] = [{ low: 0, high: 255 }];

const names = ({ kind, text }: Selector, device: DeviceConfig): boolean =>
  (kind === 'class' && device.class === text) || (kind === 'device' && device.name === text);

function unitOf({ endpoint }: DeviceConfig): Span[] {
  return 'unit' in endpoint ? [{ low: endpoint.unit, high: endpoint.unit }] : [];
}

type Whole = Head & { readonly units: readonly Span[]; readonly host: string; readonly port: number };

/** Everything that the guard behind a port does. */
function digestOf({ name, limits, observes, units, host, port }: Whole): Buffer {
  const { read, write, grade } = limits;
  const text = JSON.stringify([name, host, port, units, read, write, grade, observes]);
  return createHash('sha256').update(text).digest();
}

/**
 * A gateway that still runs an older file listens on another port, most often. There are few ports: where the port of
 * one guard was that of another before, the knock tells them apart.
 */
function listenerOf(digest: Buffer, taken: Set<number>): number {
  const { low, high } = GUARD_PORTS;
  const count = high - low + 1;
  const first = digest.readUInt32BE(0) % count;
  for (let step = 0; step < count; step += 1) {
    const candidate = low + ((first + step) % count);
    if (taken.has(candidate)) continue;
    taken.add(candidate);
    return candidate;
  }
  return 0; // told by whoever declares: no plant has that many
}

/** Addresses of the machine itself that nobody has a use for: 127.128.0.0/10. */
const KNOCKS = 0x7f80_0000;
const KNOCK_BITS = 0x3f_ffff;

function knockOf(digest: Buffer): Knock {
  const at = (byte: number): bigint => BigInt(KNOCKS + (digest.readUInt32BE(byte) & KNOCK_BITS));
  return { from: at(4), to: at(8) };
}

/** Undefined where no part is named: all of it. */
export function partOf(plant: Plant, selectors: readonly Selector[]): Addresses | undefined {
  if (selectors.length === 0) return undefined;
  const texts = selectors.flatMap((selector) =>
    selector.kind === 'subnet'
      ? [selector.text]
      : selected(plant, selector).map(({ endpoint }) => endpoint.host),
  );
  return addressesOf(texts);
}

export function selected({ config }: Plant, selector: Selector): Reachable[] {
  return config.devices.filter(isReachable).filter((device) => names(selector, device));
}
