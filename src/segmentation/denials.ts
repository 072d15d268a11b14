import { denialChain, denialCounter, type Pair } from './names.ts';
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

/** What no flow of the pair allows. */
export function denialOfPair(pair: Pair, mode: Mode): Chain {
  return denial(denialChain(pair), `${pair.from} ${pair.to}`, mode);
}

/** The end of what is not allowed: log, count, drop; in mode observe it passes all the same. */
export function denial(name: string, words: string, mode: Mode): Chain {
  const denied = mode === 'enforce';
  return {
    name,
    rules: [...denialLog(words, mode), rule(count(denialCounter(denied, name)), denied ? drop : accept)],
  };
}

export function denialLog(words: string, mode: Mode): Rule[] {
  const log: Statement = {
    kind: 'log',
    group: LOG_GROUP,
    prefix: `sluice ${mode === 'enforce' ? 'denied' : 'would-deny'} ${words} `,
  };
  return [rule(limit(LOG_SOURCES[4], 'ip saddr'), log), rule(limit(LOG_SOURCES[6], 'ip6 saddr'), log)];
}
