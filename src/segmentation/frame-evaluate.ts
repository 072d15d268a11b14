import { FrameConditions, NotUnderstood } from './frame-condition.ts';
import type { FrameListing, FrameRule } from './frame-listing.ts';
import { atHook, type FrameSpace } from './frame-space.ts';
import { hasOnly, isRecord, text } from './field.ts';
import type { PacketSet } from './packet-set.ts';

export interface FrameFates {
  readonly accepted: PacketSet;
  /** Passed, and counted as what would be denied. */
  readonly observed: PacketSet;
  /** Which rule let a part of them pass. */
  readonly deciding: readonly {
    readonly place: string;
    readonly frames: PacketSet;
    readonly drops: boolean;
  }[];
}

const WOULD_DENY = 'n_would_deny_';

/** Leads all frames at once through what the kernel lists. Throws `NotUnderstood` where it holds anything else than that. */
export function evaluateFrames(listing: FrameListing, space: FrameSpace): FrameFates {
  return new Evaluation(listing, space).run();
}

class Evaluation {
  readonly #listing: FrameListing;
  readonly #space: FrameSpace;
  readonly #conditions: FrameConditions;
  readonly #deciding: { place: string; frames: PacketSet; drops: boolean }[] = [];
  /** Sets that conditions ask, as rules name them. */
  readonly #read: ReadonlySet<string>;
  #accepted: PacketSet;
  #observed: PacketSet;

  constructor(listing: FrameListing, space: FrameSpace) {
    this.#listing = listing;
    this.#space = space;
    this.#conditions = new FrameConditions(listing, space);
    this.#read = setsThatAreRead(listing);
    this.#accepted = space.sets.nothing;
    this.#observed = space.sets.nothing;
  }

  run(): FrameFates {
    for (const [hook, name] of this.#listing.bases) this.#chain(name, this.#space.set(atHook(hook)), []);
    return { accepted: this.#accepted, observed: this.#observed, deciding: this.#deciding };
  }

  /** What falls off the end is let pass: the policy of the hook. */
  #chain(name: string, frames: PacketSet, way: readonly string[]): void {
    const rules = this.#listing.rules.get(name);
    if (rules === undefined || way.includes(name))
      throw new NotUnderstood(`chain ${name}`, 'is missing, or a loop');
    let left = frames;
    for (const rule of rules) {
      if (left === this.#space.sets.nothing) return;
      left = this.#rule(rule, left, [...way, name]);
    }
    this.#decide(`${name}, at its end`, left, false, false);
  }

  /** Those that go on with the next rule. */
  #rule({ place, statements }: FrameRule, frames: PacketSet, way: readonly string[]): PacketSet {
    const { sets } = this.#space;
    let matching = frames;
    // What may or may not meet the conditions: see `FrameConditions`.
    let perhaps = sets.nothing;
    let objects = false;
    let limited = false;
    if (statements.filter(isBareDenial).length > 1)
      throw new NotUnderstood(place, 'has two "not equal", which nft may have joined');
    for (const statement of statements) {
      const [key, inside, ...more] = isRecord(statement) ? Object.entries(statement).flat() : [];
      if (typeof key !== 'string' || more.length > 0) throw new NotUnderstood(place, 'holds no statement');
      switch (key) {
        case 'match': {
          const all = sets.or(matching, perhaps);
          const { set, most } = this.#conditions.of(inside, all, place);
          matching = sets.and(matching, set);
          perhaps = sets.minus(sets.and(all, most), matching);
          break;
        }
        case 'mangle':
          this.#checkCertain(perhaps, place);
          matching = this.#conditions.marked(inside, matching, place);
          break;
        case 'counter':
          // One that a map names ends the rule for frames that the map does not have.
          if (typeof inside !== 'string') throw new NotUnderstood(place, 'counts by more than a name');
          objects ||= inside.startsWith(WOULD_DENY);
          break;
        case 'set':
          this.#checkWrite(inside, place);
          limited = true;
          break;
        case 'log':
          break;
        case 'accept':
        case 'drop':
        case 'goto':
          // What only some of its frames reach decides nothing that could be proven.
          if (limited) throw new NotUnderstood(place, 'decides by a rate');
          this.#checkCertain(perhaps, place);
          if (key === 'goto') this.#chain(targetOf(inside, place), matching, way);
          else this.#decide(place, matching, key === 'drop', objects);
          return sets.minus(frames, matching);
        default:
          throw new NotUnderstood(place, `has the statement ${key}`);
      }
    }
    return frames;
  }

  #checkCertain(perhaps: PacketSet, place: string): void {
    if (perhaps === this.#space.sets.nothing) return;
    const frame = this.#space.example(perhaps);
    throw new NotUnderstood(place, `may look at what a frame is or not, nft lists both alike: ${frame}`);
  }

  /** A set that frames fill may only limit what is logged: what rules read must not change by traffic. */
  #checkWrite(inside: unknown, place: string): void {
    const set = isRecord(inside) ? text(inside['set']) : '';
    if (set === '' || this.#read.has(set))
      throw new NotUnderstood(place, `changes the set ${set}, which rules read`);
  }

  #decide(place: string, frames: PacketSet, drops: boolean, objects: boolean): void {
    const { sets } = this.#space;
    if (frames === sets.nothing) return;
    this.#deciding.push({ place, frames, drops });
    if (drops) return;
    if (this.#conditions.carrying(frames) !== sets.nothing)
      throw new NotUnderstood(
        place,
        'lets frames pass with the mark that tells whose address they are about',
      );
    if (objects) this.#observed = sets.or(this.#observed, frames);
    else this.#accepted = sets.or(this.#accepted, frames);
  }
}

function setsThatAreRead({ rules }: FrameListing): ReadonlySet<string> {
  const matches = [...rules.values()]
    .flat()
    .flatMap(({ statements }) => statements)
    .flatMap((statement) =>
      isRecord(statement) && isRecord(statement['match']) ? [statement['match']] : [],
    );
  return new Set(matches.map(({ right }) => text(right)).filter((right) => right.startsWith('@')));
}

/** Of two neighbours in a header, nft 1.0.6 makes one comparison: "htype != A hlen != B" is loaded as "not both". */
function isBareDenial(statement: unknown): boolean {
  const match = isRecord(statement) ? statement['match'] : undefined;
  if (!isRecord(match) || match['op'] !== '!=' || !isRecord(match['left'])) return false;
  return 'payload' in match['left'] && !text(match['right']).startsWith('@');
}

function targetOf(inside: unknown, place: string): string {
  if (isRecord(inside) && hasOnly(inside, ['target'])) return text(inside['target']);
  throw new NotUnderstood(place, 'goes somewhere');
}
