import type { ModbusGuard, Span, TableSpan } from '../config/config.ts';
import { GATEWAY } from '../config/zones.ts';
import { flowsOf } from './flows.ts';
import { GUARD_PORTS, type GuardedConduit, guardsIn, type GuardTarget } from './guards.ts';
import { isPolled } from './own-flows.ts';
import { addressesOf, hostsOf, isReachable, type Plant, type Reachable } from './plant.ts';
import type { AddressRange, Flow } from './policy.ts';
import { FAMILIES, ofFamily } from './ranges.ts';

/** Flows that are looked into, by the place of their conduit; and what the gateway needs for it. */
export interface GuardedFlows {
  readonly conduits: ReadonlyMap<string, readonly Flow[]>;
  readonly own: readonly Flow[];
}

export function guardedFlows(plant: Plant): GuardedFlows {
  const guards = guardsIn(plant);
  return {
    conduits: new Map(guards.map((guard) => [guard.path, flowsOfGuard(guard, plant)])),
    own: asking(plant, guards),
  };
}

/** One for each port that devices behind the guard listen on, most often 502 alone. */
function flowsOfGuard(guard: GuardedConduit, plant: Plant): Flow[] {
  const { name, path, from, to, clients, limits, targets } = guard;
  const because = plant.config.conduits[Number(/\d+/.exec(path)?.[0])]?.because ?? '';
  const ports = new Set(targets.map(({ port }) => port));
  return [...ports].flatMap((port) => {
    const here = targets.filter((target) => target.port === port);
    if (limits.grade === 'filtered') checkFiltered(plant, path, here);
    if (here.some(({ listener }) => listener === 0)) refuseCrowd(plant, path);
    const ends = {
      name,
      kind: 'conduit',
      from: plant.side(from, clients),
      to: plant.side(to, addressesOf(here.map(({ host }) => host))),
      because: `${because} (${limits.grade === 'filtered' ? `filtered: ${FILTERED}` : `guarded: ${limitsText(limits, here)}`})`,
      path,
      devices: here.flatMap(({ devices }) => devices),
    } as const;
    return flowsOf(ends, [{ protocol: 'tcp', ports: [port, port] }]).map((flow) => ({
      ...flow,
      guard: {
        grade: limits.grade,
        listeners:
          limits.grade === 'enforced' ? here.filter((one) => reaches(flow, one)).map(listenerOf) : [],
        limits: limits.grade === 'filtered' ? FILTERED : limitsText(limits, here),
      },
    }));
  });
}

/** It shall say of itself that it is the weaker one, wherever it is named. */
const FILTERED = 'reads, packet by packet, no enforcement';

function refuseCrowd(plant: Plant, path: string): void {
  const most = GUARD_PORTS.high - GUARD_PORTS.low + 1;
  plant.refuse(path, `more than ${most} guarded connections`, 'narrow the guarded conduits with only');
}

/** What a packet filter cannot do: tell units apart, and let pass for a while. */
function checkFiltered(plant: Plant, path: string, targets: readonly GuardTarget[]): void {
  const shared = targets.find(({ units }) => !units.some(({ low, high }) => low === 0 && high === 255));
  if (shared !== undefined)
    plant.refuse(
      path,
      `filtered, and other devices behind the address of ${shared.devices[0]}`,
      'use enforced, which tells units apart',
    );
  const { conduits } = plant.config;
  const own = conduits[Number(/\d+/.exec(path)?.[0])];
  if (conduits.some((one) => one.from === own?.from && one.to === own.to && one.observeUntil !== undefined))
    plant.refuse(
      path,
      'filtered, between two zones that are observed',
      'use enforced, or leave observe-until out',
    );
}

/** Clients of one family cannot open connections to the other one. */
const reaches = (flow: Flow, { family }: GuardTarget): boolean => ofFamily(flow.to, family).length > 0;

const listenerOf = ({ family, address, listener, knock }: GuardTarget) => ({
  family,
  address,
  port: listener,
  knock,
});

const place = ({ endpoint }: Reachable): string => `${endpoint.host} ${endpoint.port}`;

/** The gateway asks guarded devices itself, also those that it does not poll. */
function asking(plant: Plant, guards: readonly GuardedConduit[]): Flow[] {
  const { points, devices } = plant.config;
  const guarded = new Set(
    guards
      .filter(({ limits }) => limits.grade === 'enforced')
      .flatMap(({ targets }) => targets.map(({ host, port }) => `${host} ${port}`)),
  );
  const reachable = devices.filter(isReachable);
  const polled = new Set(reachable.filter((device) => isPolled(device, points)).map(place));
  const rest = reachable.filter((device) => guarded.has(place(device)) && !polled.has(place(device)));
  const groups = Map.groupBy(rest, ({ zone, endpoint }) => `${zone} ${endpoint.port}`);
  return [...groups.values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    const { port } = first.endpoint;
    const ends = {
      name: `guard-${first.zone}`,
      kind: 'guard',
      from: plant.side(GATEWAY),
      to: plant.side(first.zone, hostsOf(group)),
      because: 'the gateway asks the devices of guarded conduits',
      path: 'conduits',
      devices: group.map(({ name }) => name),
    } as const;
    return flowsOf(ends, [{ protocol: 'tcp', ports: [port, port] }]);
  });
}

/** A guard that is not the only way through is none: what it looks into, nothing else may allow. */
export function checkGuards(plant: Plant, flows: readonly Flow[]): void {
  const told = new Set<string>();
  for (const guarded of flows) {
    if (guarded.guard === undefined) continue;
    for (const other of flows) {
      if (other === guarded || other.protocol !== 'tcp' || !shares(guarded, other)) continue;
      const [low, high] = [guarded.path, other.path].toSorted();
      if (told.has(`${low} ${high}`)) continue;
      told.add(`${low} ${high}`);
      const what = other.guard === undefined ? 'allows connections that are guarded here' : 'guards them too';
      plant.refuse(
        guarded.path,
        other.path === guarded.path
          ? 'allows the port of its guarded devices beside the guard'
          : `${other.path} ${what}`,
        'let only one of them have each device: narrow them with only',
      );
    }
  }
}

/** May a connection be of both? */
export function shares(a: Flow, b: Flow): boolean {
  if (a.from.zone !== b.from.zone || a.to.zone !== b.to.zone) return false;
  if (a.ports[0] > b.ports[1] || b.ports[0] > a.ports[1]) return false;
  return FAMILIES.some((family) =>
    (['from', 'to'] as const).every((end) => meet(ofFamily(a[end], family), ofFamily(b[end], family))),
  );
}

function meet(a: readonly AddressRange[], b: readonly AddressRange[]): boolean {
  return a.some((one) => b.some((other) => one.low <= other.high && other.low <= one.high));
}

function limitsText({ read, write }: ModbusGuard, targets: readonly GuardTarget[]): string {
  const units = new Set(targets.map((target) => unitsText(target.units)));
  return `reads ${rangesText(read)}; writes ${rangesText(write)}; ${[...units].join(' or ')}`;
}

function unitsText(units: readonly Span[]): string {
  return units.some(({ low, high }) => low === 0 && high === 255)
    ? 'any unit'
    : `units ${units.map(spanText).join(', ')}`;
}

function rangesText(spans: readonly TableSpan[]): string {
  const texts = spans.map(
    (span) => `${span.table}:${span.high - span.low === 65_535 ? '*' : spanText(span)}`,
  );
  return texts.length === 0 ? 'nothing' : texts.join(', ');
}

const spanText = ({ low, high }: Span): string => (low === high ? `${low}` : `${low}-${high}`);
