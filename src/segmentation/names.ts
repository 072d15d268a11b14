import type { Flow } from './policy.ts';
import type { Family } from './ranges.ts';

// Names of our objects in the kernel: one or two characters and an underscore say what it is, so that no name is a
// keyword of nft, whatever zones are called (a chain named "drop" loads and can never be listed and read again).

/** Two zones on a way. */
export interface Pair {
  readonly from: string;
  readonly to: string;
}

/** A dash becomes two underscores, so that one underscore always parts two names: a-b and c are not a and b-c. */
const word = (name: string): string => name.replaceAll('-', '__');
const pairWord = ({ from, to }: Pair): string => `${word(from)}_${word(to)}`;

/** What new connections of a pair may do. */
export const pairChain = (pair: Pair, family?: Family): string =>
  family === undefined ? `c_${pairWord(pair)}` : `c_${pairWord(pair)}_${family}`;
/** Where what no flow of the pair allows ends. */
export const denialChain = (pair: Pair): string => `d_${pairWord(pair)}`;
/** Flows have no underscore in their names, so here a dash is one. */
export const flowChain = ({ name }: Pick<Flow, 'name'>): string => `f_${name.replaceAll('-', '_')}`;

export const flowCounter = ({ name }: Pick<Flow, 'name'>): string => `n_flow_${name.replaceAll('-', '_')}`;
/** Every new connection of the pair, allowed or not. */
export const pairCounter = (pair: Pair): string => `n_pair_${pairWord(pair)}`;

/** `any` in place of the addresses of the gateway, where a flow leaves them open. */
export const mapOf = (kind: 'm' | 'r' | 'e', pair: Pair, family: Family, open: boolean): string =>
  `${kind}_${pairWord(pair)}_${family}${open ? '_any' : ''}`;

/** Addresses that manage the gateway. */
export const managersSet = (family: Family): string => `s_managers_${family}`;

/**
 * Who a flow between many and many leads from and to, and to which ports. `part` counts the flows of one name that have
 * other ends, from 0 on.
 */
export const sideSet = (flow: Pick<Flow, 'name'>, end: 'from' | 'to', family: Family, part = 0): string =>
  `s_${end}_${wideWord(flow, family, part)}`;
export const servicesMap = (flow: Pick<Flow, 'name'>, family: Family, part = 0): string =>
  `r_${wideWord(flow, family, part)}`;
const wideWord = ({ name }: Pick<Flow, 'name'>, family: Family, part: number): string =>
  `${name.replaceAll('-', '_')}_${family}${part === 0 ? '' : `_${part}`}`;

/** Which sources of a zone have had their line of the log. */
export const sourcesSet = (zone: string, family: Family): string => `q_log_${word(zone)}_${family}`;

/** What a denial chain counts; in mode observe it counts what it would deny, and lets it pass. */
export const denialCounter = (denied: boolean, chain: string): string =>
  `${denied ? 'n_denied' : 'n_would_deny'}_${chain.replace(/^d_/, '')}`;
