import { GATEWAY } from '../config/zones.ts';
import { denialChain, denialCounter, type Pair, sourcesSet } from './names.ts';
import { EARLIEST } from './policy-at.ts';
import type { Policy } from './policy.ts';
import type { Family } from './ranges.ts';
import type { Chain, NamedSet, Rule, Statement } from './ruleset.ts';
import { accept, count, drop, limit, rule } from './statements.ts';

/** Group of NFLOG that everything denied goes to; whoever reads it (ulogd2, tcpdump -i nflog:20) names it. */
export const LOG_GROUP = 20;

const SOURCES_REMEMBERED = 4_096;
const SECONDS_REMEMBERED = 60;

/** By what log lines are held back, each in a set of its own: one noisy device must not hide another. */
type LogLimits = readonly { readonly set: string; readonly by: 'iifname' | 'ip saddr' | 'ip6 saddr' }[];

const bySource = (set: (family: Family) => string): LogLimits => [
  { set: set(4), by: 'ip saddr' },
  { set: set(6), by: 'ip6 saddr' },
];
/**
 * Each zone has its own: a host of IPv6 has more addresses than a set remembers, and once it is full nobody who is new
 * is logged. It hides those of its zone then, and nobody else's.
 */
const ofZone = (zone: string): LogLimits => bySource((family) => sourcesSet(zone, family));
const OF_ANY_ZONE = bySource((family) => `q_log_${family}`);
/** A source that was made up says nothing, and there are any number of them. */
export const BY_INTERFACE: LogLimits = [{ set: 'q_log_iif', by: 'iifname' }];

const TYPES = { iifname: 'ifname', 'ip saddr': 'ipv4_addr', 'ip6 saddr': 'ipv6_addr' } as const;

export function logSets({ zones }: Policy): NamedSet[] {
  const limits = [BY_INTERFACE, OF_ANY_ZONE, ...zones.map(({ name }) => ofZone(name)), ofZone(GATEWAY)];
  return limits.flat().map(({ set, by }) => ({
    name: set,
    type: TYPES[by],
    kind: 'dynamic',
    elements: [],
    timeout: SECONDS_REMEMBERED,
    size: SOURCES_REMEMBERED,
  }));
}

interface Manner {
  readonly mode: Policy['mode'];
  readonly until?: Until;
  readonly by?: LogLimits;
}

/** Until when what is denied passes, with an objection; undefined where there is no end, or where it is denied at once. */
type Until = Policy['observeUntil'];

/** What no flow of the pair allows. */
export function denialOfPair(pair: Pair, { mode, observeUntil, observed = [] }: Policy): Chain {
  const until = observed.find(({ from, to }) => from === pair.from && to === pair.to)?.until;
  const by = ofZone(pair.from);
  return denial(denialChain(pair), `${pair.from} ${pair.to}`, { mode, until: until ?? observeUntil, by });
}

/**
 * The end of what is not allowed: log, count, drop; in mode observe it passes all the same. Where that has an end, the
 * clock of the kernel decides, so that it ends also when no process of ours runs.
 */
export function denial(name: string, words: string, { mode, until, by = OF_ANY_ZONE }: Manner): Chain {
  if (until === undefined) return { name, rules: ending(name, { words, by }, mode === 'enforce') };
  const observing: Statement = { kind: 'while', from: EARLIEST / 1_000, until: until / 1_000 };
  const passing = ending(name, { words, by }, false).map(({ statements }) => rule(observing, ...statements));
  return { name, rules: [...passing, ...ending(name, { words, by }, true)] };
}

type Told = { readonly words: string; readonly by: LogLimits };

function ending(name: string, told: Told, denied: boolean): Rule[] {
  return [...denialLog(told, denied), rule(count(denialCounter(denied, name)), denied ? drop : accept)];
}

function denialLog({ words, by }: Told, denied: boolean): Rule[] {
  const log: Statement = {
    kind: 'log',
    group: LOG_GROUP,
    prefix: `sluice ${denied ? 'denied' : 'would-deny'} ${words} `,
  };
  return by.map((one) => rule(limit(one.set, one.by), log));
}
