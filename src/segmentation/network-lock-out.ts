import type { Config } from '../config/config.ts';
import { contains, parseAddress, parseSubnet } from '../config/network.ts';
import { interfaceOf } from '../config/zones.ts';
import { deletedLinks, type NetworkCase, type NetworkDifference } from './network-differences.ts';
import type { LiveLink, LiveNetwork } from './network-live.ts';

// Whoever comes in by an address that a change takes away is cut off in the middle of the command.

/** Who must not be cut off. */
export interface Callers {
  /** Address of this machine that the session of whoever asks came in by; undefined where it came by none. */
  readonly session: string | undefined;
  /** Where those who manage the gateway come in. */
  readonly interface: string | undefined;
  readonly subnets: readonly string[];
}

/** `session` is as sshd writes it into SSH_CONNECTION: address and port of the client, then of the server. */
export function callersOf({ segmentation, zones }: Config, session = ''): Callers {
  const zone = zones.find(({ name }) => name === segmentation.management?.zone);
  const [, , server = ''] = session.split(' ');
  return {
    session: hostOf(server)?.text,
    interface: zone === undefined ? undefined : interfaceOf(zone),
    subnets: zone?.subnets ?? [],
  };
}

/** Behind / stands the length of the subnet, behind % the interface of a link-local address. */
const hostOf = (address: string): ReturnType<typeof parseAddress> =>
  parseAddress(address.split(/[/%]/)[0] ?? '');

interface Threat {
  readonly link: LiveLink;
  readonly address: string;
  /** What happens to it. */
  readonly how: string;
}

/**
 * The first thing that somebody would miss, as a sentence. No such thing are what the file itself says, another address
 * of the same subnet for a zone or the end of one, and addresses that the kernel makes by itself: they carry nobody.
 */
export function lockOut(
  found: NetworkCase,
  differences: readonly NetworkDifference[],
  callers: Callers,
): string | undefined {
  const deleted = deletedLinks(found);
  const taken = deleted.flatMap((link) => above(link, deleted, found.live).map((upper) => ({ link, upper })));
  const named = taken.find(({ upper }) => found.plan.others.includes(upper.name));
  if (named !== undefined)
    return `${named.upper.name} is the interface of a zone, and would be deleted with ${named.link.name}`;
  const threats = [
    ...threatsTo(deleted, 'which would be deleted with it'),
    ...taken.flatMap(({ link, upper }) => threatsTo([upper], `which would be deleted with ${link.name}`)),
    ...strayThreats(found, deleted),
    ...leftThreats(found, deleted),
    ...bridgeThreats(found, deleted, differences),
  ];
  for (const threat of threats) {
    const why = missedBy(threat, found, callers);
    if (why !== undefined)
      return `${threat.link.name} has the address ${threat.address}, ${threat.how}: ${why}`;
  }
  return undefined;
}

/** Why it is missed; undefined where it is not. */
function missedBy(
  { link: { name }, address }: Threat,
  { plan, made }: NetworkCase,
  callers: Callers,
): string | undefined {
  const host = hostOf(address);
  if (host === undefined) return undefined;
  if (host.text === callers.session) return 'your own session came in by it';
  if (address.startsWith('fe80:')) return undefined;
  const isIn = (subnets: readonly string[]): boolean =>
    subnets.some((text) => {
      const subnet = parseSubnet(text);
      return subnet !== undefined && contains(subnet, host);
    });
  if (name === callers.interface || isIn(callers.subnets))
    return 'it is where those who manage the gateway come in (segmentation.management)';
  const after = plan.vlans.find((vlan) => vlan.name === name);
  const isMeant = after === undefined ? made.get(name)?.addresses.includes(address) : isIn(after.addresses);
  return isMeant === true ? undefined : 'whoever comes in by it would be cut off';
}

const threatsTo = (links: readonly LiveLink[], how: string): Threat[] =>
  links.flatMap((link) => link.addresses.map((address) => ({ link, address, how })));

/** What lies on a link, and goes with it. The other end of a pair does not lie on it. */
function above(link: LiveLink, apart: readonly LiveLink[], live: LiveNetwork): LiveLink[] {
  const found: LiveLink[] = [link];
  for (const lower of found) {
    const upper = [...live.values()].filter(({ parent, kind }) => parent === lower.name && kind !== 'veth');
    found.push(...upper.filter((one) => !found.includes(one) && !apart.includes(one)));
  }
  return found.slice(1);
}

/** Of links that stay, and may not have it. */
function strayThreats({ plan, live }: NetworkCase, deleted: readonly LiveLink[]): Threat[] {
  const vlans = plan.vlans.map(({ name, addresses }) => ({ name, wanted: addresses }));
  // Nobody comes in by the address of what is a port of the bridge already.
  const ports = plan.ports
    .filter(({ name }) => plan.bridge === undefined || live.get(name)?.master !== plan.bridge)
    .map(({ name }) => ({ name, wanted: [] }));
  return [...ports, ...vlans].flatMap(({ name, wanted }: { name: string; wanted: readonly string[] }) => {
    const link = live.get(name);
    return link === undefined || deleted.includes(link)
      ? []
      : threatsTo([link], 'which it would lose').filter(({ address }) => !wanted.includes(address));
  });
}

/** Of bridges that a port of ours comes from: the address stays, and nobody reaches it by that port any more. */
function leftThreats({ plan, live }: NetworkCase, deleted: readonly LiveLink[]): Threat[] {
  if (plan.bridge === undefined) return [];
  return plan.ports.flatMap(({ name }) => {
    const master = live.get(live.get(name)?.master ?? '');
    if (master === undefined || master.name === plan.bridge || deleted.includes(master)) return [];
    return threatsTo([master, ...above(master, deleted, live)], `which ${name} would lead to no more`);
  });
}

/** Of our bridge, and of what others put on it: without a VLAN of theirs nothing comes in there. */
function bridgeThreats(
  { plan, live }: NetworkCase,
  deleted: readonly LiveLink[],
  differences: readonly NetworkDifference[],
): Threat[] {
  const bridge = live.get(plan.bridge ?? '');
  if (
    bridge === undefined ||
    !differences.some(({ link, changes }) => link === bridge.name && changes.length > 0)
  )
    return [];
  const ours = plan.vlans.flatMap(({ name }) => live.get(name) ?? []);
  return threatsTo(
    [bridge, ...above(bridge, [...ours, ...deleted], live)],
    'which no frame would reach any more',
  );
}
