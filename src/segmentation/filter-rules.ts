import { byState, PAIRS, UNDECLARED } from './base-chains.ts';
import { denial } from './denials.ts';
import type { Policy } from './policy.ts';
import type { Family } from './ranges.ts';
import type { Chain, Rule, Verdict } from './ruleset.ts';
import { chooseBy, goTo, is, isOneOf, lookUp, reset, rule } from './statements.ts';

// The weaker grade: segments are looked at one by one. One goes on where it is headers alone, or headers and twelve
// bytes that are a read. Whoever builds segments by hand gets a write past it; see docs/segmentation.md.

/** Bytes of a read: the seven of the header (Messaging Guide V1.0b, 3.1.3), function, address, quantity. */
const READ_LENGTH = 12;
/** Protocol id, length, unit and function: the third to the eighth byte, of which the unit may be any. */
const READS = [1, 2, 3, 4].map((code) => 0x0000_0006_0000 + code);
/** Lengths of a TCP header in words of four bytes (RFC 9293, 3.1), in the upper four bits of its thirteenth byte. */
const TCP_WORDS = [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const IPV4_LENGTH = 20;

/** Where segments of a filtered conduit go first. */
export const filterChain = (family: Family): string => `x_filter_${family}`;
const ofLength = (family: Family, words: number): string => `x_filter_${family}_${words}`;
const REQUEST = 'x_request';
const READ = 'x_read';
/** One word: two would be the pair of the zones `no` and `read`. */
const NO_READ = 'd_noread';

export function filterChains(policy: Policy, families: readonly Family[]): Chain[] {
  if (families.length === 0) return [];
  const refused = rule(goTo(NO_READ));
  return [
    ...families.flatMap((family) => [
      { name: filterChain(family), rules: [byHeaders(family), refused] },
      ...TCP_WORDS.map((words) => ({
        name: ofLength(family, words),
        rules: [byLength(family, words), refused],
      })),
    ]),
    { name: REQUEST, rules: [rule(isOneOf('modbus request', ...READS), goTo(READ)), refused] },
    // What every forwarded packet meets.
    {
      name: READ,
      rules: [...byState(), rule(lookUp(['iifname', 'oifname'], PAIRS)), rule(goTo(UNDECLARED))],
    },
    refusal(policy),
  ];
}

/**
 * No options of IPv4, no extension headers, and no urgent byte, which the device takes out of its stream: what is
 * left has its data where the lengths say.
 */
function byHeaders(family: Family): Rule {
  const plain = family === 4 ? is('ip header words', 5) : is('ip6 nexthdr', 'tcp');
  const cases = TCP_WORDS.map((words): readonly [number, Verdict] => [
    words << 12,
    { goto: ofLength(family, words) },
  ]);
  return rule(plain, chooseBy('tcp header words and urgent', cases));
}

function byLength(family: Family, words: number): Rule {
  const bare = words * 4 + (family === 4 ? IPV4_LENGTH : 0);
  return rule(
    chooseBy(family === 4 ? 'ip length' : 'ip6 length', [
      [bare, { goto: READ }],
      [bare + READ_LENGTH, { goto: REQUEST }],
    ]),
  );
}

/** The client is told: what is dropped in silence it would send again for minutes. */
function refusal({ mode, observeUntil }: Policy): Chain {
  const chain = denial(NO_READ, 'no read', { mode, until: observeUntil });
  return { ...chain, rules: chain.rules.flatMap(tellingClient) };
}

/** Counted first, and told in a rule of its own: only TCP can be. */
export function tellingClient(one: Rule): Rule[] {
  const last = one.statements.at(-1);
  if (last?.kind !== 'verdict' || last.verdict !== 'drop') return [one];
  const before = one.statements.slice(0, -1);
  return [rule(...before), rule(is('l4proto', 'tcp'), reset), rule(last)];
}
