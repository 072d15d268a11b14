import { isRecord, text } from './field.ts';
import { recordsOf, type Shadow } from './shadow-path.ts';

// Rules of other tables that do more than accept and drop: they change a packet, copy it or hand it on, before it is judged
// or after. A drop of ours is final, but it looks at the packet that they left.

/** What `nft -j -t list table` printed of a table that is not ours. */
export interface ForeignTable {
  readonly family: string;
  readonly name: string;
  readonly json: unknown;
  /** Why it could not be listed. */
  readonly unread?: string;
}

type Json = Readonly<Record<string, unknown>>;

/** Statements that say by their name what they do. */
const NAMED: Readonly<Record<string, string>> = {
  dup: 'sends copies to another host',
  fwd: 'leads packets to another interface',
  tproxy: 'gives packets to a program of this machine',
  queue: 'gives packets to a program, which may change them',
  notrack: 'hides packets from connection tracking, so that answers are denied and nothing is led to a guard',
};
/** For quality of service and routers: no rule of ours, and no device, tells anybody by it. */
const HARMLESS_FIELDS: ReadonlySet<string> = new Set([
  'ip dscp', 'ip ecn', 'ip ttl', 'ip6 dscp', 'ip6 ecn', 'ip6 flowlabel', 'ip6 hoplimit', 'vlan pcp', 'vlan dei',
]); // biome-ignore format: a list of names
/** Extensions of iptables that change nothing about where a packet comes from or goes to. */
const HARMLESS_TARGETS: ReadonlySet<string> = new Set([
  'LOG', 'NFLOG', 'REJECT', 'TCPMSS', 'CHECKSUM', 'CLASSIFY', 'DSCP', 'TOS', 'CONNMARK', 'SET', 'MASQUERADE', 'SNAT', 'RATEEST',
]); // biome-ignore format: a list of names
/** The first ones tell enough. */
const MOST_TOLD = 4;

/**
 * Of each chain of type filter at a hook, what it or a chain without a hook in its table does; `marksRoute` where a routing
 * rule goes by the mark of a packet. Chains of other types, and at interfaces, are told of as such.
 */
export function ruleRewrites(tables: readonly ForeignTable[], marksRoute: boolean): Shadow[] {
  return tables.flatMap(({ family, name, json, unread }): Shadow[] => {
    const objects = isRecord(json) ? recordsOf(json['nftables']) : [];
    const chains = objects.flatMap(({ chain }) => (isRecord(chain) ? [chain] : []));
    const remedy = `nft list table ${family} ${name}; if it is not needed: nft delete table ${family} ${name}`;
    if (unread !== undefined)
      return [
        {
          kind: 'rewrites',
          severity: 'warning',
          place: `nftables table ${family} ${name}`,
          does: `its rules cannot be read (${unread}): they may change packets before or after they are judged, copy them or hand them on`,
          remedy,
        },
      ];
    const rules = objects.flatMap(({ rule }) => (isRecord(rule) ? [rule] : []));
    const isBase = (chain: string): boolean => chains.some((one) => one['name'] === chain && 'hook' in one);
    return chains.filter(isFilter).flatMap((chain): Shadow[] => {
      const own = text(chain['name']);
      // A chain without a hook may be reached by any rule, also by elements of a map.
      const its = rules.filter((rule) => rule['chain'] === own || !isBase(text(rule['chain'])));
      const does = [...new Set(its.flatMap((rule) => recordsOf(rule['expr']).flatMap(done(marksRoute))))];
      if (does.length === 0) return [];
      return [
        {
          kind: 'rewrites',
          severity: 'warning',
          place: `nftables chain ${family} ${name} ${own} (filter, ${text(chain['hook'])}, priority ${Number(chain['prio'])})`,
          does: `it ${told(does)}: the rules judge, and devices get, what it leaves of a packet, so that a conduit may be used by who may not`,
          remedy,
        },
      ];
    });
  });
}

const isFilter = (chain: Json): boolean =>
  chain['type'] === 'filter' && !['ingress', 'egress'].includes(text(chain['hook']));

function told(does: readonly string[]): string {
  const more = does.length - MOST_TOLD;
  return `${does.slice(0, MOST_TOLD).join(', ')}${more > 0 ? ` and ${more} things more` : ''}`;
}

const done =
  (marksRoute: boolean) =>
  (statement: Json): string[] => {
    const named = Object.entries(NAMED).filter(([key]) => key in statement);
    if (named.length > 0) return named.map(([, does]) => does);
    if ('xt' in statement) return extension(statement['xt'], marksRoute);
    const { mangle } = statement;
    if (mangle === undefined) return [];
    const field = fieldOf(isRecord(mangle) ? mangle['key'] : undefined, marksRoute);
    return field === undefined ? [] : [`changes ${field}`];
  };

/** Undefined where it is harmless. What is not known is not. */
function fieldOf(key: unknown, marksRoute: boolean): string | undefined {
  if (!isRecord(key)) return 'something that is not known here';
  const { payload, meta } = key;
  if (isRecord(payload)) {
    const field = `${text(payload['protocol'])} ${text(payload['field'])}`.trim();
    if (HARMLESS_FIELDS.has(field)) return undefined;
    return field === '' ? 'bytes of packets' : field;
  }
  if ('tcp option' in key || 'ct' in key) return undefined;
  if (isRecord(meta)) {
    const name = text(meta['key']);
    if (name === 'pkttype') return 'for whom frames are';
    return name === 'mark' && marksRoute ? 'marks, by which routing rules choose a way' : undefined;
  }
  return Object.keys(key).join(', ') || 'something that is not known here';
}

/** `{"type": "match"|"target", "name": "TPROXY"}`, or nothing where nft was built without them. */
function extension(xt: unknown, marksRoute: boolean): string[] {
  if (!isRecord(xt)) return ['does what this nft cannot list'];
  const name = text(xt['name']);
  const isHarmless = xt['type'] === 'match' || HARMLESS_TARGETS.has(name) || (name === 'MARK' && !marksRoute);
  return isHarmless ? [] : [`does ${name || 'what this nft cannot list'} of iptables`];
}

/** Does a routing rule go by the mark of a packet? */
export const routesByMark = (rules: readonly { readonly json: unknown }[]): boolean =>
  rules.some(({ json }) => recordsOf(json).some((rule) => 'fwmark' in rule));
