import { denialChain, denialCounter, type Pair } from './names.ts';
import { EARLIEST } from './policy-at.ts';
import type { Policy } from './policy.ts';
import type { Chain, NamedSet, Rule, Statement } from './ruleset.ts';
import { accept, count, drop, limit, rule } from './statements.ts';

/** Group of NFLOG that everything denied goes to; whoever reads it (ulogd2, tcpdump -i nflog:20) names it. */
export const LOG_GROUP = 20;

/** Sources whose log lines are held back: one noisy device must not hide another. */
const LOG_SOURCES = { 4: 'q_log_4', 6: 'q_log_6' } as const;
const SOURCES_REMEMBERED = 4_096;
const SECONDS_REMEMBERED = 60;

export const LOG_SETS: readonly NamedSet[] = [
  { name: LOG_SOURCES[4], type: 'ipv4_addr' },
  { name: LOG_SOURCES[6], type: 'ipv6_addr' },
].map(({ name, type }) => ({
  name,
  type: type === 'ipv4_addr' ? 'ipv4_addr' : 'ipv6_addr',
  kind: 'dynamic',
  elements: [],
  timeout: SECONDS_REMEMBERED,
  size: SOURCES_REMEMBERED,
}));

type Mode = Policy['mode'];

/** Until when what is denied passes, with an objection; undefined where there is no end, or where it is denied at once. */
type Until = Policy['observeUntil'];

/** What no flow of the pair allows. */
export function denialOfPair(pair: Pair, { mode, observeUntil, observed = [] }: Policy): Chain {
  const until = observed.find(({ from, to }) => from === pair.from && to === pair.to)?.until;
  return denial(denialChain(pair), `${pair.from} ${pair.to}`, mode, until ?? observeUntil);
}

/**
 * The end of what is not allowed: log, count, drop; in mode observe it passes all the same. Where that has an end, the
 * clock of the kernel decides, so that it ends also when no process of ours runs.
 */
export function denial(name: string, words: string, mode: Mode, until?: Until): Chain {
  if (until === undefined) return { name, rules: ending(name, words, mode === 'enforce') };
  const observing: Statement = { kind: 'while', from: EARLIEST / 1_000, until: until / 1_000 };
  const passing = ending(name, words, false).map(({ statements }) => rule(observing, ...statements));
  return { name, rules: [...passing, ...ending(name, words, true)] };
}

function ending(name: string, words: string, denied: boolean): Rule[] {
  return [
    ...denialLog(words, denied ? 'enforce' : 'observe'),
    rule(count(denialCounter(denied, name)), denied ? drop : accept),
  ];
}

export function denialLog(words: string, mode: Mode): Rule[] {
  const log: Statement = {
    kind: 'log',
    group: LOG_GROUP,
    prefix: `sluice ${mode === 'enforce' ? 'denied' : 'would-deny'} ${words} `,
  };
  return [rule(limit(LOG_SOURCES[4], 'ip saddr'), log), rule(limit(LOG_SOURCES[6], 'ip6 saddr'), log)];
}
