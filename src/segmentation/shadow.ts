import { isRecord, text } from './field.ts';
import type { Policy } from './policy.ts';
import { filterShadows, type Filters } from './shadow-filters.ts';
import { linkShadows, linksOf, type Link, watchedLinks } from './shadow-links.ts';
import { type ForeignTable, routesByMark, ruleRewrites } from './shadow-rules.ts';
import { recordsOf, type Severity, type Shadow } from './shadow-path.ts';

// What undermines a policy although our tables are whole. What another table accepts is none of it: a drop of ours is
// final. What runs before or beside our rules is.

/** What programs printed, as JSON; undefined where they could not be asked. */
export interface ShadowFacts {
  readonly chains: unknown;
  /** Tables that are not ours, of which a chain stands at a hook, with their rules. */
  readonly tables: readonly ForeignTable[];
  readonly flowtables: unknown;
  readonly links: unknown;
  /** Filters of traffic control, of each interface and side that has any. */
  readonly filters: readonly Filters[];
  readonly rules: readonly { readonly family: 'IPv4' | 'IPv6'; readonly json: unknown }[];
  /** Tables of the older iptables that are loaded. */
  readonly legacy: readonly string[];
  /** Below /proc/sys/net. */
  readonly switches: ReadonlyMap<string, string>;
  /** We switched forwarding off ourselves, until the rules hold again; whoever switches it on opens the network. */
  readonly closed: boolean;
  /** What could not be looked at, and why. */
  readonly unread: readonly { readonly what: string; readonly why: string }[];
}

/** The worst first. */
export function shadows(facts: ShadowFacts, policy: Policy): Shadow[] {
  if (policy.mode === 'off') return [];
  const links = linksOf(facts.links);
  const watched = watchedLinks(links, policy);
  const found = [
    ...chainShadows(facts.chains, watched),
    ...ruleRewrites(facts.tables, routesByMark(facts.rules)),
    ...flowtableShadows(facts.flowtables, watched),
    ...linkShadows(links, policy, watched),
    ...facts.filters.flatMap((one) => (watched.has(one.dev) ? filterShadows(one) : [])),
    ...facts.rules.flatMap(({ family, json }) => ruleShadows(family, json)),
    ...legacyShadows(facts.legacy),
    ...switchShadows(facts, links, policy),
    ...facts.unread.map(unreadShadow),
  ];
  return found.toSorted((a, b) => WORST.indexOf(a.severity) - WORST.indexOf(b.severity));
}

const WORST: readonly Severity[] = ['danger', 'warning', 'note'];

/** What `nft -j list` prints of one kind, without our own tables. */
function foreign(json: unknown, kind: string): Readonly<Record<string, unknown>>[] {
  const objects = isRecord(json) ? recordsOf(json['nftables']) : [];
  return objects.flatMap((object) => {
    const inside = object[kind];
    if (!isRecord(inside)) return [];
    const isOurs = inside['table'] === 'sluice' && ['inet', 'bridge'].includes(text(inside['family']));
    return isOurs ? [] : [inside];
  });
}

/** Those whose rules have to be looked at: what stands at no hook sees no packet. */
export function foreignTables(chains: unknown): { readonly family: string; readonly name: string }[] {
  const hooked = foreign(chains, 'chain').filter(({ type, hook }) => type === 'filter' && hook !== undefined);
  const tables = hooked.map(({ family, table }) => ({ family: text(family), name: text(table) }));
  return [...new Map(tables.map((one) => [JSON.stringify(one), one])).values()];
}

const namesOf = (json: unknown): string[] =>
  Array.isArray(json) ? json.map(text) : json === undefined ? [] : [text(json)];

function chainShadows(json: unknown, watched: ReadonlySet<string>): Shadow[] {
  return foreign(json, 'chain').flatMap((chain): Shadow[] => {
    const [family, table, name, hook] = ['family', 'table', 'name', 'hook'].map((key) => text(chain[key]));
    if (hook === undefined || hook === '') return [];
    const place = `nftables chain ${family} ${table} ${name} (${text(chain['type'])}, ${hook}, priority ${Number(chain['prio'])})`;
    const remedy = `nft list chain ${family} ${table} ${name}; if it is not needed: nft delete table ${family} ${table}`;
    if (hook === 'ingress' || hook === 'egress') {
      const devices = namesOf(chain['dev']);
      // Which interfaces it has is not always listed.
      const isOurs = devices.length === 0 || devices.some((device) => watched.has(device));
      return isOurs
        ? [
            {
              kind: 'ingress',
              severity: 'danger',
              place: devices.length === 0 ? place : `${place} at ${devices.join(', ')}`,
              does: `it sees packets ${hook === 'ingress' ? 'before' : 'after'} all rules between zones, and may lead them (fwd) to another interface past them`,
              remedy,
            },
          ]
        : [];
    }
    if (chain['type'] === 'nat') return [natShadow(hook, place, remedy)];
    if (chain['type'] === 'route') {
      return [
        {
          kind: 'reroute',
          severity: 'warning',
          place,
          does: 'what the gateway sends may be routed anew after it was judged, and leave by another interface than the one that is allowed',
          remedy,
        },
      ];
    }
    return droppingShadow(chain, family ?? '', place);
  });
}

function natShadow(hook: string, place: string, remedy: string): Shadow {
  if (hook === 'prerouting' || hook === 'output') {
    return {
      kind: 'nat',
      severity: 'warning',
      place,
      does: 'it may change destinations before our rules: they judge where a packet goes in the end, so that a device is reached by an address that is not its own, and a conduit to the gateway may end elsewhere',
      remedy,
    };
  }
  return {
    kind: 'nat',
    severity: 'note',
    place,
    does: 'it may change source addresses after our rules: devices, and rules of others behind, see the gateway in place of who asks',
    remedy,
  };
}

/** What it accepts changes nothing; what it drops does not work, whatever is declared. */
function droppingShadow(chain: Readonly<Record<string, unknown>>, family: string, place: string): Shadow[] {
  const sees = ['input', 'output', 'forward'].includes(text(chain['hook'])) && family !== 'arp';
  if (!sees || chain['policy'] !== 'drop') return [];
  return [
    {
      kind: 'drops',
      severity: 'note',
      place,
      does: 'it drops what its own rules do not accept, also what is declared here: nothing more passes by that, but a conduit may not work',
      remedy: 'accept there what is declared, or leave filtering to Sluice alone',
    },
  ];
}

function flowtableShadows(json: unknown, watched: ReadonlySet<string>): Shadow[] {
  return foreign(json, 'flowtable').flatMap((table): Shadow[] => {
    const devices = namesOf(table['dev']);
    if (devices.length > 0 && !devices.some((device) => watched.has(device))) return [];
    return [
      {
        kind: 'flowtable',
        severity: 'danger',
        place: `flowtable ${text(table['family'])} ${text(table['table'])} ${text(table['name'])} at ${devices.join(', ') || 'unknown interfaces'}`,
        does: 'connections in it are forwarded past all our rules: a quarantine, a changed rule or a guard does not reach them any more',
        remedy: `nft delete table ${text(table['family'])} ${text(table['table'])}, or its rules with "flow add"`,
      },
    ];
  });
}

const USUAL: ReadonlySet<string> = new Set(['local', 'main', 'default']);

function ruleShadows(family: string, json: unknown): Shadow[] {
  const all = recordsOf(json);
  const others = all.filter((rule) => !isUsual(rule));
  return others.slice(0, MOST_RULES).map((rule) => ({
    kind: 'routing rule',
    severity: 'warning',
    place: `${family} routing rule ${text(rule['priority']) || Number(rule['priority'])} to table ${text(rule['table']) || text(rule['action']) || 'unknown'}`,
    does: 'packets may take another way than the main table says: our rules judge the interface they really leave by, but the check of source addresses goes by these routes too, and a spoofed address may count as one that belongs there',
    remedy: `ip ${family === 'IPv6' ? '-6 ' : ''}rule del priority ${Number(rule['priority'])}, if it is not needed`,
  }));
}

const MOST_RULES = 10;
const PRIORITIES: Readonly<Record<string, number>> = { local: 0, main: 32_766, default: 32_767 };

function isUsual(rule: Readonly<Record<string, unknown>>): boolean {
  const table = text(rule['table']);
  const keys = Object.keys(rule).filter((key) => !['priority', 'src', 'table', 'protocol'].includes(key));
  return (
    USUAL.has(table) && keys.length === 0 && rule['src'] === 'all' && PRIORITIES[table] === rule['priority']
  );
}

function legacyShadows(tables: readonly string[]): Shadow[] {
  return tables
    .filter((table) => table === 'nat')
    .map((table) => ({
      kind: 'nat',
      severity: 'warning',
      place: `the older iptables, table ${table}`,
      does: 'it may change addresses before our rules, which judge where a packet goes in the end',
      remedy: 'iptables-legacy -t nat -S tells what is in it; move it to nftables, or flush it',
    }));
}

function switchShadows(
  { switches, closed }: Pick<ShadowFacts, 'switches' | 'closed'>,
  links: readonly Link[],
  policy: Policy,
): Shadow[] {
  const is = (name: string, value: string): boolean => switches.get(name) === value;
  const forwards = (family: 'v4' | 'v6'): boolean =>
    policy.flows.some(
      ({ from, to }) =>
        from.interface !== undefined &&
        to.interface !== undefined &&
        from[family].length > 0 &&
        to[family].length > 0,
    );
  const off = (name: string, family: 'v4' | 'v6'): Shadow[] =>
    is(name, '0') && forwards(family) && !closed
      ? [
          {
            kind: 'forwarding',
            severity: 'warning',
            place: `net.${name.replaceAll('/', '.')} = 0`,
            does: `nothing is forwarded over IP${family}: no conduit between zones works`,
            remedy: `as soon as the rules hold: sysctl -w net.${name.replaceAll('/', '.')}=1, and in /etc/sysctl.d`,
          },
        ]
      : [];
  const again = (name: string): Shadow[] =>
    closed && !is(name, '0') && switches.has(name)
      ? [
          {
            kind: 'forwarding',
            severity: 'danger',
            place: `net.${name.replaceAll('/', '.')} = ${switches.get(name)}`,
            does: 'netd had switched it off, as packets would pass that are not declared, and somebody switched it on again: they pass now',
            remedy: `sysctl -w net.${name.replaceAll('/', '.')}=0; netd switches it on when the rules hold again`,
          },
        ]
      : [];
  const hasBridge = links.some(({ kind }) => kind === 'bridge');
  const zones = new Set(policy.zones.map((zone) => zone.interface));
  return [
    ...off(FORWARDING[0], 'v4'),
    ...off(FORWARDING[1], 'v6'),
    ...FORWARDING.flatMap(again),
    ...['bridge/bridge-nf-call-iptables', 'bridge/bridge-nf-call-ip6tables']
      .filter((name) => hasBridge && is(name, '1'))
      .map(
        (name): Shadow => ({
          kind: 'bridge',
          severity: 'warning',
          place: `net.${name.replace('/', '.')} = 1`,
          does: 'what is bridged inside a zone is judged by the rules between zones as well: it is denied unless the bridge is the interface of a zone that allows it within, and connection tracking mixes the two',
          remedy: `sysctl -w net.${name.replace('/', '.')}=0`,
        }),
      ),
    ...[...switches].flatMap(([name, value]) => interfaceSwitch(name, value, zones)),
    ...policy.zones.flatMap((zone) => takesRoutes(zone, switches)),
    ...SOURCE_ROUTES.flatMap(([family, key]) => sourceRoutes(family, key, switches, zones)),
  ];
}

const FORWARDING = ['ipv4/ip_forward', 'ipv6/conf/all/forwarding'] as const;

function interfaceSwitch(path: string, value: string, zones: ReadonlySet<string>): Shadow[] {
  const [, name = '', key] = /^ipv4\/conf\/([^/]+)\/(\w+)$/.exec(path) ?? [];
  if (!zones.has(name) && name !== 'all') return [];
  const place = `net.ipv4.conf.${name}.${key} = ${value}`;
  const remedy = `sysctl -w net.ipv4.conf.${name}.${key}=0`;
  if (key === 'route_localnet' && value === '1')
    return [
      {
        kind: 'localnet',
        severity: 'warning',
        place,
        does: 'packets from outside may go to 127.0.0.0/8: what listens there alone can be reached wherever its port is allowed',
        remedy,
      },
    ];
  return [];
}

/** Of zones of the plant, whichever families they have: where the rest of the world is, a router may say so. */
function takesRoutes(
  { name, interface: at, rest }: Policy['zones'][number],
  switches: ReadonlyMap<string, string>,
): Shadow[] {
  const value = switches.get(`ipv6/conf/${at}/accept_ra`);
  // 1: as long as it forwards nothing itself (ip-sysctl).
  const isTaken = value === '2' || (value === '1' && switches.get(`ipv6/conf/${at}/forwarding`) === '0');
  if (rest === true || !isTaken) return [];
  return [
    {
      kind: 'router advertisement',
      severity: 'warning',
      place: `net.ipv6.conf.${at}.accept_ra = ${value}`,
      does: `the kernel takes a default route and addresses from whoever says in zone ${name} that it is a router; only the rules are in the way, and in mode observe nothing is`,
      remedy: `sysctl -w net.ipv6.conf.${at}.accept_ra=0, and in /etc/sysctl.d`,
    },
  ];
}

/** Ways through the network that the sender writes into a packet: RFC 791, RFC 8754, RFC 6554. */
const SOURCE_ROUTES = [
  ['ipv4', 'accept_source_route'],
  ['ipv6', 'seg6_enabled'],
  ['ipv6', 'rpl_seg_enabled'],
] as const;

function sourceRoutes(
  family: string,
  key: string,
  switches: ReadonlyMap<string, string>,
  zones: ReadonlySet<string>,
): Shadow[] {
  const isOn = (name: string): boolean => Number(switches.get(`${family}/conf/${name}/${key}`) ?? 0) > 0;
  // The kernel takes them where both say so, and most interfaces do from their beginning.
  const taking = isOn('all') ? [...zones].filter(isOn) : [];
  if (taking.length === 0) return [];
  return [
    {
      kind: 'source route',
      severity: 'danger',
      place: `net.${family}.conf.all.${key} = 1, and that of ${taking.join(', ')}`,
      does: 'the sender of a packet may choose its way: over a connection to the gateway that is allowed, packets go on to any device, since what belongs to a connection is not judged again',
      remedy: `sysctl -w net.${family}.conf.all.${key}=0, and in /etc/sysctl.d`,
    },
  ];
}

const unreadShadow = ({ what, why }: ShadowFacts['unread'][number]): Shadow => ({
  kind: 'unknown',
  severity: 'warning',
  place: what,
  does: `it could not be looked at whether anything there undermines the rules: ${why}`,
  remedy: 'mend that; a newer nft in a container may have written what this one cannot list',
});
