import { FILTER_PASSED, FILTER_REFUSED } from './filter-block.ts';
import type { Field } from './field.ts';
import type { BaseHook, Chain, Gap, Listing, Rule } from './listing.ts';
import type { Statement } from './listing-rule.ts';
import type { Verdict } from './listing-set.ts';
import { Matcher } from './match-set.ts';
import { HOOKS, type Hook, packetText } from './packet.ts';
import type { PacketSet } from './packet-set.ts';
import type { PacketSpace } from './packet-space.ts';
import { possible } from './possible.ts';

// What a table does to packets, for all packets at once. Assumed of the world outside the table:
// - other tables only take away (a drop is final everywhere) and rewrite no packet on its way; where this table leads
//   connections elsewhere, what comes in by input is looked at as it is then, with where it wanted to go beside it;
// - conntrack tells the state of a packet, and has put fragments together before any rule sees them;
// - the route back to a source (fib) is a property of the packet, not of the ruleset.

/** `would deny` is an accept that a table in mode observe gives where it would deny in mode enforce. */
export type Outcome = 'accept' | 'would deny' | 'drop';

/** Whether the accept of a rule is such a one. */
export type Observes = (rule: Rule) => boolean;

export interface Evaluation {
  /** Accepted by every base chain, and by none of them only because it observes. */
  readonly accepted: PacketSet;
  readonly observed: PacketSet;
  /** Which connections are led to which port of the gateway, as their first packets come in. */
  readonly led: ReadonlyMap<number, PacketSet>;
  /** What segments carry is looked at: those that are no read fare as if they were none of it. */
  readonly filtered: Filtered;
  /** Not empty: the rest means nothing. */
  readonly gaps: readonly Gap[];
}

export interface Filtered {
  /** Which packets are looked at. */
  readonly seen: PacketSet;
  /** Which of them pass whatever they carry: with an objection, or without one. */
  readonly observed: PacketSet;
  readonly passed: PacketSet;
}

export type BaseChain = Chain & { readonly base: NonNullable<Chain['base']> };

/** Base chains that a packet passes on its way; the hook in the middle gives the way its name. */
const WAYS: Readonly<Record<Hook, readonly BaseHook[]>> = {
  input: ['prerouting', 'input'],
  output: ['output', 'postrouting'],
  forward: ['prerouting', 'forward', 'postrouting'],
};
/** Deeper than the kernel allows (16 jumps); a loop cannot be loaded. */
const DEEPEST = 32;

/** In the order in which a packet passes them. */
export function baseChainsOf({ chains }: Listing, hook: Hook): BaseChain[] {
  return WAYS[hook].flatMap((stage) =>
    [...chains.values()]
      .flatMap((chain) => (chain.base?.hook === stage ? [{ ...chain, base: chain.base }] : []))
      .sort((a, b) => a.base.priority - b.base.priority),
  );
}

/** The packets that a table accepts. */
export function evaluate(space: PacketSpace, listing: Listing, observes: Observes = () => false): Evaluation {
  const evaluator = new Evaluator(space, listing, observes);
  const ways = HOOKS.map((hook) => evaluator.travel(hook));
  return {
    accepted: space.union(ways.map(({ passed, observed }) => space.minus(passed, observed))),
    observed: space.union(ways.map(({ observed }) => observed)),
    led: evaluator.lead(),
    filtered: evaluator.filtered(),
    gaps: evaluator.gaps,
  };
}

/** The way of packets through one base chain and the chains it leads to. */
interface Walk {
  readonly base: BaseChain['base'];
  readonly accepted: PacketSet[];
  readonly observed: PacketSet[];
  /** Dropped here and there, or going on: no matter, as long as they are dropped in the end. */
  readonly doubtful: { readonly rule: Rule; readonly packets: PacketSet }[];
  depth: number;
}

/** Of one rule: `here` goes on to the next rule, `out` has left the chain and goes on behind it. */
interface Step {
  here: PacketSet;
  out: PacketSet;
}

/** What of the packets meets the conditions of a rule so far, and what may or may not: see `leastGuard`. */
interface Meeting {
  surely: PacketSet;
  perhaps: PacketSet;
}

class Evaluator {
  readonly gaps: Gap[];
  readonly #space: PacketSpace;
  readonly #listing: Listing;
  readonly #observes: Observes;
  readonly #matcher: Matcher;
  readonly #seen: PacketSet[] = [];
  readonly #refused: { readonly observed: PacketSet; readonly passed: PacketSet }[] = [];

  constructor(space: PacketSpace, listing: Listing, observes: Observes) {
    this.#space = space;
    this.#listing = listing;
    this.#observes = observes;
    this.gaps = [...listing.gaps];
    this.#matcher = new Matcher(space, listing, (place, what) => this.#gap(place, what));
  }

  #gap(place: string, what: string): void {
    if (!this.gaps.some((gap) => gap.place === place && gap.what === what)) this.gaps.push({ place, what });
  }

  filtered(): Filtered {
    return {
      seen: this.#space.union(this.#seen),
      observed: this.#space.union(this.#refused.map(({ observed }) => observed)),
      passed: this.#space.union(this.#refused.map(({ passed }) => passed)),
    };
  }

  /** Where both ways of a filter lead: one for reads, the other for whatever else a segment carries. */
  #filter(packets: PacketSet, rule: Rule, step: Step, walk: Walk): void {
    this.#seen.push(packets);
    const other: Walk = { base: walk.base, accepted: [], observed: [], doubtful: [], depth: walk.depth };
    const left = this.#enter(FILTER_REFUSED, packets, other, rule);
    this.#checkDoubtful(other, this.#space.union([...other.accepted, ...other.observed, left]));
    this.#refused.push({
      observed: this.#space.union(other.observed),
      passed: this.#space.union([...other.accepted, left]),
    });
    step.out = this.#space.or(step.out, this.#enter(FILTER_PASSED, packets, walk, rule));
    step.here = this.#space.minus(step.here, packets);
  }

  /** An accept ends only its own base chain; what one of them objected to stays so. */
  travel(hook: Hook): { passed: PacketSet; observed: PacketSet } {
    const space = this.#space;
    let passed = possible(space, hook);
    let observed = space.nothing;
    for (const chain of baseChainsOf(this.#listing, hook)) {
      const walk: Walk = { base: chain.base, accepted: [], observed: [], doubtful: [], depth: 0 };
      const left = this.#chain(chain, passed, walk);
      if (chain.base.policy === 'accept') walk.accepted.push(left);
      const noticed = space.union(walk.observed);
      passed = space.or(space.union(walk.accepted), noticed);
      this.#checkDoubtful(walk, passed);
      observed = space.or(space.and(observed, passed), noticed);
    }
    return { passed, observed };
  }

  /** The chain that leads connections to ports of the gateway; it decides nothing else. */
  lead(): Map<number, PacketSet> {
    const space = this.#space;
    const led = new Map<number, PacketSet>();
    const [chain, second] = this.#listing.leading;
    if (second !== undefined) this.#gap(second.name, 'leads connections elsewhere, beside another chain');
    const rules = chain?.rules ?? [];
    if (
      chain !== undefined &&
      !rules.some(({ statements }) => statements.some(({ kind }) => kind === 'redirect'))
    )
      this.#gap(`chain ${chain.name}`, 'hangs on type nat and leads no connection');
    let here = space.everything;
    for (const rule of rules) {
      let matched = here;
      for (const statement of rule.statements) {
        if (statement.kind === 'note') continue;
        if (statement.kind === 'match' || statement.kind === 'redirect') this.#checkLeading(statement, rule);
        if (statement.kind === 'match') {
          matched = space.and(matched, this.#matcher.matchSets(statement, rule.place).set);
        } else if (statement.kind === 'redirect') {
          const rest = space.minus(here, matched);
          for (const [port, wanted] of this.#matcher.portSets(statement, rule.place)) {
            const taken = space.and(matched, wanted);
            led.set(port, space.or(led.get(port) ?? space.nothing, taken));
            matched = space.minus(matched, taken);
          }
          here = space.or(rest, matched);
        } else if (statement.kind === 'verdict' && statement.verdict.kind === 'accept') {
          here = space.minus(here, matched);
        } else this.#gap(rule.place, 'does more than lead connections elsewhere');
      }
    }
    return led;
  }

  /** Gives back what reaches the end of the chain, or returns from it. */
  #chain({ rules }: Chain, packets: PacketSet, walk: Walk): PacketSet {
    const out: PacketSet[] = [];
    let here = packets;
    for (const rule of rules) {
      if (here === this.#space.nothing) break;
      const step: Step = { here, out: this.#space.nothing };
      this.#rule(rule, step, walk);
      out.push(step.out);
      here = step.here;
    }
    return this.#space.or(this.#space.union(out), here);
  }

  #rule(rule: Rule, step: Step, walk: Walk): void {
    const space = this.#space;
    const meeting: Meeting = { surely: step.here, perhaps: space.nothing };
    let chance: string | undefined;
    for (const statement of rule.statements) {
      switch (statement.kind) {
        case 'match': {
          this.#check(statement, space.or(meeting.surely, meeting.perhaps), rule, walk);
          const { set, most } = this.#matcher.matchSets(statement, rule.place);
          this.#meet(meeting, set, most);
          break;
        }
        case 'vmap':
        case 'verdict':
          if (chance !== undefined) this.#gap(rule.place, `decides by chance (${chance})`);
          if (statement.kind === 'verdict') {
            if (statement.verdict.kind === 'drop') walk.doubtful.push({ rule, packets: meeting.perhaps });
            else this.#checkCertain(meeting.perhaps, rule);
            this.#apply([[statement.verdict, meeting.surely]], rule, step, walk);
          } else {
            this.#check(statement, space.or(meeting.surely, meeting.perhaps), rule, walk);
            const { fields } = statement;
            this.#meet(meeting, this.#matcher.guard(fields), this.#matcher.leastGuard(fields));
            this.#checkCertain(meeting.perhaps, rule);
            this.#apply(this.#cases(statement, meeting.surely, rule), rule, step, walk);
          }
          return;
        case 'note':
          break;
        case 'filter': {
          const { hook } = walk.base;
          if (hook !== 'forward') this.#gap(rule.place, `filters segments on hook ${hook}`);
          const seen = space.and(meeting.surely, this.#matcher.guard(statement.fields));
          if (seen !== meeting.surely) this.#gap(rule.place, 'filters segments of the other family');
          this.#filter(seen, rule, step, walk);
          return;
        }
        case 'redirect':
          this.#gap(rule.place, 'leads connections elsewhere, where nothing should');
          return;
        case 'never':
          return;
        case 'chance':
          chance = statement.what;
          this.#checkWrite(statement.writes, rule);
          break;
        default:
          statement satisfies never;
      }
      if (meeting.surely === space.nothing && meeting.perhaps === space.nothing) return;
    }
  }

  #meet(meeting: Meeting, set: PacketSet, most: PacketSet): void {
    const space = this.#space;
    const may = space.and(space.or(meeting.surely, meeting.perhaps), most);
    meeting.surely = space.and(meeting.surely, set);
    meeting.perhaps = space.minus(may, meeting.surely);
  }

  #checkDoubtful({ doubtful }: Walk, passed: PacketSet): void {
    for (const { rule, packets } of doubtful) this.#checkCertain(this.#space.and(packets, passed), rule);
  }

  #checkCertain(perhaps: PacketSet, rule: Rule): void {
    const packet = this.#space.witness(perhaps);
    if (packet === undefined) return;
    this.#gap(rule.place, `may look at the family or not, nft lists both alike: ${packetText(packet)}`);
  }

  #cases(
    statement: Extract<Statement, { kind: 'vmap' }>,
    packets: PacketSet,
    rule: Rule,
  ): [Verdict, PacketSet][] {
    const cases = this.#matcher.verdictSets(statement, rule.place);
    return cases.map(([verdict, set]) => [verdict, this.#space.and(packets, set)]);
  }

  #apply(cases: readonly (readonly [Verdict, PacketSet])[], rule: Rule, step: Step, walk: Walk): void {
    const space = this.#space;
    const gone: PacketSet[] = [];
    const back: PacketSet[] = [];
    const out: PacketSet[] = [step.out];
    for (const [verdict, matched] of cases) {
      if (matched === space.nothing || verdict.kind === 'continue') continue;
      gone.push(matched);
      switch (verdict.kind) {
        case 'accept':
          (this.#observes(rule) ? walk.observed : walk.accepted).push(matched);
          break;
        case 'drop':
          break;
        case 'return':
          out.push(matched);
          break;
        case 'goto':
          out.push(this.#enter(verdict.target, matched, walk, rule));
          break;
        case 'jump':
          back.push(this.#enter(verdict.target, matched, walk, rule));
          break;
        default:
          verdict satisfies never;
      }
    }
    step.out = space.union(out);
    step.here = space.or(space.minus(step.here, space.union(gone)), space.union(back));
  }

  #enter(target: string, packets: PacketSet, walk: Walk, rule: Rule): PacketSet {
    const chain = this.#listing.chains.get(target);
    if (chain === undefined || chain.base !== undefined || walk.depth >= DEEPEST) {
      this.#gap(rule.place, `goes to ${target}, which is no chain to go to`);
      return packets;
    }
    walk.depth += 1;
    const left = this.#chain(chain, packets, walk);
    walk.depth -= 1;
    return left;
  }

  #check(
    statement: Extract<Statement, { kind: 'match' | 'vmap' }>,
    packets: PacketSet,
    rule: Rule,
    walk: Walk,
  ): void {
    for (const field of statement.fields) {
      const { hook, priority } = walk.base;
      if (!isKnownOn(hook, field)) this.#gap(rule.place, `looks at ${field.text} on hook ${hook}`);
      if (!isKnownAt(walk.base, field))
        this.#gap(rule.place, `looks at ${field.text} on hook ${hook}, priority ${priority}: too early`);
      if (hook === 'prerouting' && this.#listing.leading.length > 0 && isDestination(field))
        this.#gap(rule.place, `looks at ${field.text} of packets that may be led elsewhere`);
    }
    this.#matcher.checkPorts(statement, packets, rule.place);
  }

  /** Behind connection tracking, in front of routing. */
  #checkLeading({ fields }: Extract<Statement, { kind: 'match' | 'redirect' }>, rule: Rule): void {
    for (const field of fields) {
      if (!isKnownOn('prerouting', field) || field.leastGuard !== undefined)
        this.#gap(rule.place, `looks at ${field.text} where connections are led elsewhere`);
    }
  }

  /** A set that packets fill may only count or limit what is logged: what rules read must not change by traffic. */
  #checkWrite(set: string, rule: Rule): void {
    if (set !== '' && this.#matcher.isRead(set))
      this.#gap(rule.place, `changes the set ${set}, which rules read`);
  }
}

/** ICMP types share the dimension of ports, and no ICMP is ever led elsewhere. */
function isDestination({ dimension, type }: Field): boolean {
  return dimension === 'destination' || (dimension === 'port' && type === 'inet_service');
}

/** Before routing nobody knows the way out; behind it, some things are known no more. */
function isKnownOn(hook: BaseHook, { dimension }: Field): boolean {
  switch (hook) {
    case 'prerouting':
      return dimension !== 'out' && dimension !== 'originalDestination' && dimension !== 'originalPort';
    // What is forwarded has been counted down already, and what comes in has not.
    case 'forward':
      return dimension !== 'hopLimit';
    case 'postrouting':
      return !['in', 'ether', 'reversePath', 'hopLimit'].includes(dimension);
    case 'output':
      return dimension !== 'reversePath';
    default:
      return true;
  }
}

/** NF_IP_PRI_CONNTRACK and NF_IP_PRI_CONNTRACK_DEFRAG (linux/netfilter_ipv4.h). */
const CONNTRACK = -200;
const DEFRAGMENTATION = -400;

/**
 * Where packets enter, connection tracking has not looked at them yet: it calls all invalid then. In front of that still,
 * fragments are single ones, of which all but the first have no port.
 */
function isKnownAt({ hook, priority }: BaseChain['base'], { dimension }: Field): boolean {
  if (hook !== 'prerouting' && hook !== 'output') return true;
  switch (dimension) {
    case 'state':
    case 'originalDestination':
    case 'originalPort':
      return priority > CONNTRACK;
    case 'port':
      return priority > DEFRAGMENTATION;
    default:
      return true;
  }
}
