import { milliseconds, minutes, seconds } from '../core/units.ts';
import type { Conduit, Config, Management } from './config.ts';
import { checked } from './checked.ts';
import { checkServices, conduitNames, readMoment, subnetOf } from './conduits.ts';
import { READ_ONLY } from './guard.ts';
import { parseSubnet, type Subnet } from './network.ts';
import { describe, type Report } from './problem.ts';
import * as schema from './network-schema.ts';
import { DNS, NTP, trafficOf } from './services.ts';
import { readDuration } from './units.ts';
import { choose, GATEWAY, interfaceOf, type Known, type ZoneEntry } from './zones.ts';

/** Long enough for a person to look, short enough for the plant not to miss what was cut off. */
const CONFIRM_WITHIN = [seconds(10), minutes(60)] as const;

/** A flow that is used every few seconds shows itself by then; whoever asked for the change waits for it. */
const MUST_WORK_WITHIN = [seconds(5), minutes(4)] as const;

/**
 * Each two zones have a chain and counters of their own, so that rules grow with the square. What netd, nft and the
 * kernel need for 64 zones and ten conduits from each, 690 MB at its most, is what the unit of netd may have (768 MB);
 * 100 zones need more, and 300 take nft the 30 s after which it is ended.
 */
export const MOST_ZONES = 64;

export function readSegmentation(
  value: unknown,
  zones: Known<ZoneEntry>,
  conduits: readonly Conduit[],
  report: Report,
): Config['segmentation'] | undefined {
  const path = ['segmentation'];
  const { shape, whole } = checked(schema.segmentationHead, value ?? {}, path, report);
  const within = readDuration(shape['confirm-within'], [...path, 'confirm-within'], report, CONFIRM_WITHIN);
  const management =
    shape.management === undefined ? undefined : readManagement(shape.management, zones, report);
  const { mode, heal } = shape;
  const observeUntil = readMoment(shape['observe-until'], [...path, 'observe-until'], report);
  if (observeUntil !== undefined && mode !== undefined && mode !== 'observe') {
    report(
      [...path, 'observe-until'],
      `a time for mode observe, and the mode is ${mode}`,
      'set mode: observe, or give the time to a conduit',
    );
  }
  const mustWork = shape['must-work'] ?? [];
  checkMustWork(mustWork, conduits, report);
  const longest = milliseconds(Math.min(within ?? MUST_WORK_WITHIN[1], MUST_WORK_WITHIN[1]));
  const given = shape['must-work-within'];
  const bound: Report = (at, found, fix) =>
    report(at, found, longest < MUST_WORK_WITHIN[1] ? `${fix}, which is confirm-within` : fix);
  const atWork =
    given === undefined
      ? longest
      : readDuration(given, [...path, 'must-work-within'], bound, [MUST_WORK_WITHIN[0], longest]);
  if (mode === undefined || heal === undefined || within === undefined || atWork === undefined)
    return undefined;
  if (mode === 'enforce' && whole && shape.management === undefined) {
    report(
      [...path, 'mode'],
      'enforce, and nobody who may manage the gateway',
      'add management: { zone: uplink, from: [10.1.2.0/24], allow: [ssh, https] } with your zone and addresses',
    );
  }
  if (mode !== 'off') {
    checkInterfaces(zones, report);
    checkNumber(zones, report);
    checkConduits(conduits, zones, report);
  }
  return { mode, confirmWithin: within, heal, observeUntil, mustWork, mustWorkWithin: atWork, management };
}

/** Kinds of flows that somebody may name; conduits have names of their own. */
const KINDS = ['polls', 'pushes', 'upstream', 'management'];

function checkMustWork(names: readonly string[], conduits: readonly Conduit[], report: Report): void {
  const known = [...KINDS, ...conduitNames(conduits)];
  for (const [i, name] of names.entries()) {
    if (!known.includes(name))
      report(['segmentation', 'must-work', i], `no flow ${describe(name)}`, choose(name, known, 'flows'));
  }
}

function readManagement(value: unknown, zones: Known<ZoneEntry>, report: Report): Management {
  const path = ['segmentation', 'management'];
  const { zone = '', from = [], allow = [] } = checked(schema.management, value, path, report).shape;
  if (zone === GATEWAY)
    report([...path, 'zone'], 'the appliance itself', 'name the zone of those who manage it');
  else if (zone !== '' && !zones.has(zone))
    report([...path, 'zone'], `no zone ${describe(zone)}`, choose(zone, [...zones.keys()], 'zones'));
  checkServices(allow, [...path, 'allow'], report);
  if (allow.length > 0 && allow.every(isNoLogin))
    report(
      [...path, 'allow'],
      'nothing to log in by',
      'add what the gateway is managed by, such as ssh or https',
    );
  const guarded = allow.indexOf(READ_ONLY);
  if (guarded >= 0)
    report([...path, 'allow', guarded], 'a guard in front of the gateway', 'use modbus-tcp, or a conduit');
  const subnets = from.flatMap((text, i) => {
    const at = [...path, 'from', i];
    if (text.endsWith('/0')) {
      report(
        at,
        `${describe(text)}: everybody`,
        'name the addresses of those who manage it, such as 10.1.2.0/24',
      );
      return [];
    }
    return zones.has(zone) ? (subnetOf(text, zone, at, zones, report)?.text ?? []) : [];
  });
  return { zone, from: subnets, allow };
}

/** Echo, names and time: nobody changes a gateway by them. */
const isNoLogin = (service: string): boolean =>
  trafficOf(service).every(
    ({ protocol, ports }) =>
      protocol.startsWith('icmp') || [DNS, NTP].some((port) => ports.every((one) => one === port)),
  );

function checkNumber(zones: Known<ZoneEntry>, report: Report): void {
  const first = [...zones.keys()][MOST_ZONES];
  if (first === undefined) return;
  report(
    ['zones', first],
    `zone ${MOST_ZONES + 1} of ${zones.size}, and rules for each two of them`,
    `declare at most ${MOST_ZONES}: what needs the same may be one zone`,
    'key',
  );
}

/** Rules tell zones apart by the interface that packets come from. */
function checkInterfaces(zones: Known<ZoneEntry>, report: Report): void {
  const owners = new Map<string, string>();
  for (const [name, { zone, whole }] of zones) {
    const own = interfaceOf(zone);
    const path = ['zones', name];
    if (own === undefined) {
      const fix = 'give it a vlan or an interface, or set mode: off';
      if (whole) report(path, 'a zone that no rule can tell apart', fix, 'key');
      continue;
    }
    const at = [...path, zone.interface === undefined ? 'vlan' : 'interface'];
    if (own === 'lo') report(at, 'the interface of the appliance itself', 'name another one');
    const owner = owners.get(own);
    // Two zones with one VLAN have been told.
    const twins = zone.interface === undefined && zones.get(owner ?? '')?.zone.interface === undefined;
    if (owner !== undefined && !twins)
      report(at, `${own} is also the interface of zone ${owner}`, 'give each zone its own interface');
    owners.set(own, owner ?? name);
  }
}

function checkConduits(conduits: readonly Conduit[], zones: Known<ZoneEntry>, report: Report): void {
  const seen = new Map<string, number>();
  for (const [i, conduit] of conduits.entries()) {
    const { from, to, allow, only, guard } = conduit;
    const same = JSON.stringify([from, to, allow.toSorted(), only, guard]);
    const first = seen.get(same);
    if (first !== undefined) report(['conduits', i], `the same as conduits[${first}]`, 'keep one of them');
    seen.set(same, first ?? i);
    const [there, here] = [familiesOf(from, only.from, zones), familiesOf(to, only.to, zones)];
    if (there === undefined || here === undefined || [...there].some((family) => here.has(family))) continue;
    report(
      ['conduits', i],
      `${from} has IPv${[...there].join()} addresses and ${to} has IPv${[...here].join()}: nothing can flow`,
      'add a subnet of the other family to a zone, or take the conduit out',
    );
  }
}

/** Undefined where it may be any: the gateway, a zone without subnet, devices. */
function familiesOf(
  name: string,
  only: Conduit['only']['from'],
  zones: Known<ZoneEntry>,
): ReadonlySet<4 | 6> | undefined {
  const named = only.flatMap(({ kind, text }) => (kind === 'subnet' ? (parseSubnet(text) ?? []) : []));
  if (only.length > 0 && named.length < only.length) return undefined;
  const subnets: readonly Subnet[] = only.length > 0 ? named : (zones.get(name)?.subnets ?? []);
  return subnets.length === 0 ? undefined : new Set(subnets.map(({ family }) => family));
}
