import { errorText } from '../core/errors.ts';
import { type Nft, roomFor } from './nft.ts';

/** Something that the rules use and not every kernel has. */
export interface Feature {
  readonly name: string;
  /** What does not work without it, for people. */
  readonly follows: string;
  /** Without it no rules are loaded at all. */
  readonly needed: boolean;
  /** Without it no rules are loaded where zones have access ports. */
  readonly forPorts?: true;
}

export interface Lack extends Feature {
  /** What nft said. */
  readonly says: string;
}

type Objects = readonly object[];

/** Never committed: every document of the probe is only checked. */
const NAME = 'sluice_probe';

const inet = { family: 'inet', table: NAME } as const;
const table = (family: string): object => ({ add: { table: { family, name: NAME } } });
const add = (kind: string, what: object): object => ({ add: { [kind]: { ...inet, ...what } } });
const chain = (what: object = {}): object => add('chain', { name: 'c_probe', ...what });
const rule = (...expr: readonly object[]): object => add('rule', { chain: 'c_probe', expr });
const forward = chain({ type: 'filter', hook: 'forward', prio: -5, policy: 'drop' });
const payload = (protocol: string, field: string): object => ({ payload: { protocol, field } });
const meta = (key: string): object => ({ meta: { key } });
const map = (type: readonly string[], more: object = {}): object =>
  add('map', { name: 'm_probe', type, map: 'verdict', ...more });
const lookUp = (...concat: readonly object[]): object => ({ vmap: { key: { concat }, data: '@m_probe' } });

const CONCAT = ['ipv4_addr', 'ipv4_addr', 'inet_proto', 'inet_service'];
const KEY = [payload('ip', 'saddr'), payload('ip', 'daddr'), meta('l4proto'), payload('th', 'dport')];
/** As the rules of the ports ask it: see `frame-render.ts`. */
const ABOUT = { payload: { base: 'th', offset: 64, len: 128 } };
const OWNER = ['0xfe80000000000000000000fffe001021', 1];
const NO_PORTS =
  'nothing guards the ports of a bridge from one another: a file with zones.X.ports is refused';
const NO_RULES_AT_ALL = 'no rules can be loaded: the network stays as it is';

const PROBES: readonly (Feature & { readonly objects: Objects })[] = [
  {
    name: 'tables for both families (inet)',
    follows: NO_RULES_AT_ALL,
    needed: true,
    objects: [table('inet'), forward],
  },
  {
    name: 'verdict maps of exact keys',
    follows: NO_RULES_AT_ALL,
    needed: true,
    objects: [
      table('inet'),
      chain(),
      map(['ifname', 'ifname']),
      rule(lookUp(meta('iifname'), meta('oifname'))),
    ],
  },
  {
    name: 'verdict maps of subnets and port ranges',
    follows: NO_RULES_AT_ALL,
    needed: true,
    objects: [table('inet'), chain(), map(CONCAT, { flags: ['interval'] }), rule(lookUp(...KEY))],
  },
  {
    name: 'connection tracking',
    follows: NO_RULES_AT_ALL,
    needed: true,
    objects: [
      table('inet'),
      forward,
      rule({ vmap: { key: { ct: { key: 'state' } }, data: { set: [['established', { accept: null }]] } } }),
    ],
  },
  {
    name: 'named counters',
    follows: NO_RULES_AT_ALL,
    needed: true,
    objects: [table('inet'), chain(), add('counter', { name: 'n_probe' }), rule({ counter: 'n_probe' })],
  },
  {
    name: 'sets with time-outs, filled by rules with a rate',
    follows: NO_RULES_AT_ALL,
    needed: true,
    objects: [
      table('inet'),
      chain(),
      add('set', { name: 'q_probe', type: 'ipv4_addr', flags: ['timeout'], timeout: 60, size: 16 }),
      rule({
        set: {
          op: 'update',
          elem: payload('ip', 'saddr'),
          set: '@q_probe',
          stmt: [{ limit: { rate: 1, per: 'second', burst: 3 } }],
        },
      }),
    ],
  },
  {
    name: 'log groups (NFLOG)',
    follows: NO_RULES_AT_ALL,
    needed: true,
    objects: [table('inet'), chain(), rule({ log: { group: 20, prefix: 'sluice probe ' } })],
  },
  {
    name: 'rules that look at the clock',
    follows: 'observe-until cannot be used (it needs kernel 5.4)',
    needed: false,
    objects: [
      table('inet'),
      chain(),
      rule({ match: { op: '<', left: meta('time'), right: 1_800_000_000 } }, { accept: null }),
    ],
  },
  {
    name: 'redirects by a map of ports',
    follows: 'conduits cannot be guarded (grade enforced)',
    needed: false,
    objects: [
      table('inet'),
      chain({ type: 'nat', hook: 'prerouting', prio: -100, policy: 'accept' }),
      add('map', { name: 'p_probe', type: ['ipv4_addr', 'inet_service'], map: 'inet_service' }),
      // nft takes ports only where the protocol is known.
      rule(
        { match: { op: '==', left: meta('l4proto'), right: 'tcp' } },
        {
          redirect: {
            port: {
              map: { key: { concat: [payload('ip', 'daddr'), payload('tcp', 'dport')] }, data: '@p_probe' },
            },
          },
        },
      ),
    ],
  },
  {
    name: 'looks behind the header of TCP',
    follows: 'conduits cannot be filtered (grade filtered; it needs kernel 5.16)',
    needed: false,
    objects: [
      table('inet'),
      chain(),
      rule(
        {
          match: {
            op: '==',
            left: { '&': [{ payload: { base: 'ih', offset: 16, len: 48 } }, 0xffff_ffff_00ff] },
            right: 0x6_0001,
          },
        },
        { accept: null },
      ),
    ],
  },
  {
    name: 'tables of a bridge',
    follows: NO_PORTS,
    needed: false,
    forPorts: true,
    objects: [
      table('bridge'),
      {
        add: {
          chain: {
            family: 'bridge',
            table: NAME,
            name: 'c_probe',
            type: 'filter',
            hook: 'prerouting',
            prio: -300,
          },
        },
      },
    ],
  },
  {
    name: 'marks of frames by what a neighbour message is about',
    follows: NO_PORTS,
    needed: false,
    forPorts: true,
    objects: [
      table('bridge'),
      { add: { chain: { family: 'bridge', table: NAME, name: 'c_probe' } } },
      {
        add: {
          rule: {
            family: 'bridge',
            table: NAME,
            chain: 'c_probe',
            expr: [{ mangle: { key: meta('mark'), value: { map: { key: ABOUT, data: { set: [OWNER] } } } } }],
          },
        },
      },
    ],
  },
];

/** What this kernel lacks of what rules of ours use, each asked for by itself. Changes nothing; throws without rights. */
export async function probe(nft: Nft): Promise<Lack[]> {
  const lacks: Lack[] = [];
  await nft.list(); // rights, and a program that runs: without them everything would be lacking
  for (const { objects, ...feature } of PROBES) {
    try {
      await nft.check(JSON.stringify({ nftables: objects }));
    } catch (error) {
      const says = errorText(error);
      // Anything else than a no of the kernel tells nothing about the kernel.
      if (!says.includes('Could not process rule')) throw error;
      if (roomFor(says) !== undefined) continue;
      lacks.push({ ...feature, says });
    }
  }
  return lacks;
}
