import type { Field } from './field.ts';
import type { BaseHook, Chain, Gap, Listing, Rule } from './listing.ts';
import { Matcher } from './match-set.ts';
import { HOOKS, type Hook, type Packet } from './packet.ts';
import type { PacketSet } from './packet-set.ts';
import type { PacketSpace } from './packet-space.ts';
import { possible } from './possible.ts';
import type { Statement } from './listing-rule.ts';
import type { Verdict } from './listing-set.ts';

// What a table does to packets, for all packets at once. Assumed of the world outside the table:
// - other tables only take away (a drop is final everywhere) and rewrite no packet on its way;
// - conntrack tells the state of a packet, and has put fragments together before any rule sees them;
// - the route back to a source (fib) is a property of the packet, not of the ruleset.

/** `would deny` is an accept that a table in mode observe gives where it would deny in mode enforce. */
export type Outcome = 'accept' | 'would deny' | 'drop';

/** Where a base chain ended for some packets. */
export interface Decision {
  readonly packets: PacketSet;
  readonly outcome: Outcome;
  readonly chain: string;
  /** The rules that led there: `g_forward, rule 4 (handle 71) > c_a_b, rule 1 (handle 17)`. */
  readonly rule: string;
}

export interface Evaluation {
  /** Accepted by every base chain, and by none of them only because it observes. */
  readonly accepted: PacketSet;
  readonly observed: PacketSet;
  /** Not empty: the rest means nothing. */
  readonly gaps: readonly Gap[];
}

type Observes = (rule: Rule) => boolean;

/** Base chains that a packet passes on its way; the hook in the middle gives the way its name. */
const WAYS: Readonly<Record<Hook, readonly BaseHook[]>> = {
  input: ['prerouting', 'input'],
  output: ['output', 'postrouting'],
  forward: ['prerouting', 'forward', 'postrouting'],
};
/** Deeper than the kernel allows (16 jumps); a loop cannot be loaded. */
const DEEPEST = 32;

export class Evaluator {
  readonly #space: PacketSpace;
  readonly #listing: Listing;
  readonly #observes: Observes;
  readonly #matcher: Matcher;
  readonly #gaps: Gap[];

  constructor(space: PacketSpace, listing: Listing, observes: Observes = () => false) {
    this.#space = space;
    this.#listing = listing;
    this.#observes = observes;
    this.#gaps = [...listing.gaps];
    this.#matcher = new Matcher(space, listing, (place, what) => this.#gap(place, what));
  }

  evaluate(): Evaluation {
    const accepted: PacketSet[] = [];
    const observed: PacketSet[] = [];
    for (const hook of HOOKS) {
      const way = this.#travel(hook, possible(this.#space, hook), () => {});
      accepted.push(this.#space.minus(way.passed, way.observed));
      observed.push(way.observed);
    }
    return {
      accepted: this.#space.union(accepted),
      observed: this.#space.union(observed),
      gaps: this.#gaps,
    };
  }

  /** What each base chain says about one packet, up to the one that drops it. */
  explain(packet: Packet): readonly Decision[] {
    const decisions: Decision[] = [];
    this.#travel(packet.hook, this.#space.only(packet), (decision) => decisions.push(decision), packet);
    return decisions;
  }

  #gap(place: string, what: string): void {
    if (!this.#gaps.some((gap) => gap.place === place && gap.what === what)) this.#gaps.push({ place, what });
  }

  #travel(
    hook: Hook,
    packets: PacketSet,
    decide: (decision: Decision) => void,
    packet?: Packet,
  ): { passed: PacketSet; observed: PacketSet } {
    const space = this.#space;
    let passed = packets;
    let observed = space.nothing;
    for (const chain of this.#chainsOf(hook)) {
      const walk = new Walk(chain.name, decide, packet);
      const left = this.#walk(chain, passed, walk, '');
      const policy = chain.base.policy;
      if (left !== space.nothing)
        walk.end(left, policy === 'accept' ? 'accept' : 'drop', `${chain.name}, policy ${policy}`);
      const noticed = space.union(walk.sets('would deny'));
      passed = space.or(space.union(walk.sets('accept')), noticed);
      observed = space.or(space.and(observed, passed), noticed);
    }
    return { passed, observed };
  }

  /** An accept ends only its own base chain, a drop is final: the order matters to the explanation alone. */
  #chainsOf(hook: Hook): (Chain & { base: NonNullable<Chain['base']> })[] {
    return WAYS[hook].flatMap((stage) =>
      [...this.#listing.chains.values()]
        .flatMap((chain) => (chain.base?.hook === stage ? [{ ...chain, base: chain.base }] : []))
        .sort((a, b) => a.base.priority - b.base.priority),
    );
  }

  /** Gives back what reaches the end of the chain, or returns from it. */
  #walk(
    chain: Chain & { base: { hook: BaseHook } | undefined },
    packets: PacketSet,
    walk: Walk,
    path: string,
  ): PacketSet {
    const space = this.#space;
    walk.hook = chain.base?.hook ?? walk.hook;
    const out: PacketSet[] = [];
    let here = packets;
    for (const rule of chain.rules) {
      if (here === space.nothing) break;
      const step = this.#rule(rule, here, walk, `${path}${rule.place}`);
      out.push(step.out);
      here = step.here;
    }
    return space.or(space.union(out), here);
  }

  /** `here` goes on to the next rule, `out` has left the chain and goes on behind it. */
  #rule(rule: Rule, packets: PacketSet, walk: Walk, path: string): { here: PacketSet; out: PacketSet } {
    const space = this.#space;
    const step = { here: packets, out: space.nothing };
    let matched = packets;
    let chance: string | undefined;
    for (const statement of rule.statements) {
      if (matched === space.nothing) return step;
      switch (statement.kind) {
        case 'match':
          this.#checkHook(statement.fields, rule, walk);
          this.#matcher.checkPorts(statement, matched, rule.place);
          matched = space.and(matched, this.#matcher.matchSet(statement, rule.place));
          break;
        case 'vmap':
          if (chance !== undefined) this.#gap(rule.place, `decides by chance (${chance})`);
          this.#checkHook(statement.fields, rule, walk);
          this.#matcher.checkPorts(statement, matched, rule.place);
          this.#vmap(statement, { rule, matched, step, walk, path });
          return step;
        case 'verdict':
          if (chance !== undefined) this.#gap(rule.place, `decides by chance (${chance})`);
          this.#apply(statement.verdict, { rule, matched, step, walk, path });
          return step;
        case 'note':
          break;
        case 'chance':
          chance = statement.what;
          this.#checkWrite(statement.writes, rule);
          break;
        default:
          statement satisfies never;
      }
    }
    return step;
  }

  #vmap(statement: Extract<Statement, { kind: 'vmap' }>, at: Place): void {
    const cases = this.#matcher.verdictSets(statement, at.rule.place);
    for (const [verdict, set] of cases) {
      const matched = this.#space.and(at.matched, set);
      if (matched === this.#space.nothing) continue;
      const { packet } = at.walk;
      const element = packet === undefined ? '' : this.#matcher.elementText(statement, packet);
      this.#apply(verdict, {
        ...at,
        matched,
        path: element === '' ? at.path : `${at.path}, element ${element}`,
      });
    }
  }

  #apply(verdict: Verdict, { rule, matched, step, walk, path }: Place): void {
    const space = this.#space;
    switch (verdict.kind) {
      case 'continue':
        return;
      case 'accept':
        walk.end(matched, this.#observes(rule) ? 'would deny' : 'accept', path);
        break;
      case 'drop':
        walk.end(matched, 'drop', path);
        break;
      case 'return':
        step.out = space.or(step.out, matched);
        break;
      case 'goto':
        step.out = space.or(step.out, this.#enter(verdict.target, matched, walk, path, rule));
        break;
      case 'jump':
        step.here = space.or(
          space.minus(step.here, matched),
          this.#enter(verdict.target, matched, walk, path, rule),
        );
        return;
      default:
        verdict satisfies never;
    }
    step.here = space.minus(step.here, matched);
  }

  #enter(target: string, packets: PacketSet, walk: Walk, path: string, rule: Rule): PacketSet {
    const chain = this.#listing.chains.get(target);
    if (chain === undefined || chain.base !== undefined || walk.depth >= DEEPEST) {
      this.#gap(rule.place, `goes to ${target}, which is no chain to go to`);
      return packets;
    }
    walk.depth += 1;
    const left = this.#walk(chain, packets, walk, `${path} > `);
    walk.depth -= 1;
    return left;
  }

  /** Some hooks do not know some fields yet, or no more. */
  #checkHook(fields: readonly Field[], rule: Rule, walk: Walk): void {
    for (const { dimension, text } of fields) {
      const unknown =
        (walk.hook === 'prerouting' && dimension === 'out') ||
        (walk.hook === 'postrouting' &&
          (dimension === 'in' || dimension === 'ether' || dimension === 'reversePath')) ||
        (walk.hook === 'output' && dimension === 'reversePath');
      if (unknown) this.#gap(rule.place, `looks at ${text} on hook ${walk.hook}`);
    }
  }

  /** A set that packets fill may only count or limit what is logged: what rules read must not change by traffic. */
  #checkWrite(set: string, rule: Rule): void {
    if (set !== '' && this.#matcher.isRead(set))
      this.#gap(rule.place, `changes the set ${set}, which rules read`);
  }
}

interface Place {
  readonly rule: Rule;
  readonly matched: PacketSet;
  readonly step: { here: PacketSet; out: PacketSet };
  readonly walk: Walk;
  readonly path: string;
}

/** The way of some packets through one base chain and the chains it leads to. */
class Walk {
  readonly packet: Packet | undefined;
  hook: BaseHook = 'prerouting';
  depth = 0;
  readonly #chain: string;
  readonly #decide: (decision: Decision) => void;
  readonly #ends: { readonly packets: PacketSet; readonly outcome: Outcome }[] = [];

  constructor(chain: string, decide: (decision: Decision) => void, packet: Packet | undefined) {
    this.#chain = chain;
    this.#decide = decide;
    this.packet = packet;
  }

  end(packets: PacketSet, outcome: Outcome, rule: string): void {
    this.#ends.push({ packets, outcome });
    this.#decide({ packets, outcome, chain: this.#chain, rule });
  }

  sets(outcome: Outcome): PacketSet[] {
    return this.#ends.flatMap((end) => (end.outcome === outcome ? [end.packets] : []));
  }
}
