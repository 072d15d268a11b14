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
  #accepted: PacketSet;
  #observed: PacketSet;

  constructor(listing: FrameListing, space: FrameSpace) {
    this.#listing = listing;
    this.#space = space;
    this.#conditions = new FrameConditions(listing, space);
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
    let objects = false;
    let limited = false;
    for (const statement of statements) {
      const [key, inside, ...more] = isRecord(statement) ? Object.entries(statement).flat() : [];
      if (typeof key !== 'string' || more.length > 0) throw new NotUnderstood(place, 'holds no statement');
      switch (key) {
        case 'match':
          matching = sets.and(matching, this.#conditions.of(inside, place));
          break;
        case 'mangle':
          matching = this.#conditions.marked(inside, matching, place);
          break;
        case 'counter':
          // One that a map names ends the rule for frames that the map does not have.
          if (typeof inside !== 'string') throw new NotUnderstood(place, 'counts by more than a name');
          objects ||= inside.startsWith(WOULD_DENY);
          break;
        case 'set':
          limited = true;
          break;
        case 'log':
          break;
        case 'accept':
        case 'drop':
        case 'goto':
          // What only some of its frames reach decides nothing that could be proven.
          if (limited) throw new NotUnderstood(place, 'decides by a rate');
          if (key === 'goto') this.#chain(targetOf(inside, place), matching, way);
          else this.#decide(place, matching, key === 'drop', objects);
          return sets.minus(frames, matching);
        default:
          throw new NotUnderstood(place, `has the statement ${key}`);
      }
    }
    return frames;
  }

  #decide(place: string, frames: PacketSet, drops: boolean, objects: boolean): void {
    const { sets } = this.#space;
    if (frames === sets.nothing) return;
    this.#deciding.push({ place, frames, drops });
    if (drops) return;
    if (objects) this.#observed = sets.or(this.#observed, frames);
    else this.#accepted = sets.or(this.#accepted, frames);
  }
}

function targetOf(inside: unknown, place: string): string {
  if (isRecord(inside) && hasOnly(inside, ['target'])) return text(inside['target']);
  throw new NotUnderstood(place, 'goes somewhere');
}
