import { errorText } from '../core/errors.ts';
import { epochMs } from '../core/units.ts';
import { encloses, NOTHING_PASSES } from '../segmentation/closed.ts';
import { compile } from '../segmentation/compile.ts';
import { type Connection, Judge } from '../segmentation/connections.ts';
import { islanded } from '../segmentation/island.ts';
import type { Policy } from '../segmentation/policy.ts';
import { policyOfText } from '../segmentation/policy-file.ts';
import { policyAt } from '../segmentation/policy-at.ts';
import { joined, quarantinedIn, quarantineElements, withQuarantine } from '../segmentation/quarantine.ts';
import { render } from '../segmentation/render.ts';
import { bring, type Brought, holds } from './bring.ts';
import { connectionsThat, deleteConnections, ownAddresses } from './conntrack.ts';
import { type Island, IslandMark } from './island.ts';
import type { Nft } from './nft.ts';
import { type Entry, isOver, QuarantineBook } from './quarantine-book.ts';
import { digest, NO_RULES, type State } from './state.ts';
import { Unloaded } from './unloaded.ts';

const MOST_STRANGE = 5;

/** What should hold before a change of ours. */
export interface Expected {
  /** The first one; others are as good. */
  readonly documents: readonly [string, ...string[]];
  readonly policy: Policy | undefined;
  readonly change: string | undefined;
}

export interface Strange extends Expected {
  readonly listing: string | undefined;
}

/** What became of the connections that the rules do not allow any more. */
export interface Cut {
  readonly connections: number;
  /** Why some may go on. */
  readonly problem: string | undefined;
}

/**
 * Rules are made from gateway.yaml; what is in force beside them is not in it: the island, and who is in quarantine.
 * Both are on the disk and are put into whatever is loaded, so that nothing that is applied, rolled back or started ends
 * them. What the disk does not take is known to this process alone until it does.
 */
export class InForce {
  readonly #state: State;
  readonly mark: IslandMark;
  readonly book: QuarantineBook;
  readonly unloaded: Unloaded;
  #bootOwed: string | undefined;
  #expected: Expected | undefined;
  #strange: Strange[] = [];

  constructor(state: State) {
    this.#state = state;
    this.mark = new IslandMark(state.folder);
    this.book = new QuarantineBook(state.folder);
    this.unloaded = new Unloaded(state.folder);
  }

  get island(): Island | undefined {
    return this.mark.get();
  }

  /** Those whose time is not over. */
  get quarantined(): Entry[] {
    return this.book.entries().filter((entry) => !isOver(entry));
  }

  /** Is there anything that has to be enforced? */
  get isAny(): boolean {
    return this.island !== undefined || !this.isReadable || this.quarantined.length > 0;
  }

  /** Those, and whom the kernel holds on though their time is over: nobody was there to release them. */
  held(listing: string | undefined): Entry[] {
    const within = this.quarantined;
    const rightly = quarantineElements(within);
    const kernel = quarantinedIn(listing);
    const isHeld = (entry: Entry): boolean =>
      [...quarantineElements([entry])].some(([set, some]) =>
        some.some(
          (one) => kernel.get(set)?.includes(one) === true && rightly.get(set)?.includes(one) !== true,
        ),
      );
    return [...within, ...this.book.entries().filter((entry) => isOver(entry) && isHeld(entry))];
  }

  /** What the kernel shall hold while these are the rules. Throws where it is not known who is in quarantine. */
  document(rules: string, suspects: readonly Entry[] = this.quarantined): string {
    return withQuarantine(this.#cut(rules), quarantineElements(suspects));
  }

  /**
   * The same, whatever is damaged. A book that cannot be read releases nobody: those stay in quarantine whom a start of the
   * machine would put there, or the kernel holds.
   */
  lenient(rules: string, listing: string | undefined): string {
    try {
      return this.document(rules);
    } catch (error) {
      if (this.isReadable) throw error;
      return withQuarantine(
        this.#cut(rules),
        joined(quarantinedIn(this.#state.booted()?.document), quarantinedIn(listing)),
      );
    }
  }

  /** The same, as whoever loads it who knows no more than the disk has; undefined where that is all. */
  byDisk(rules: string): string | undefined {
    return this.owed === undefined ? undefined : new InForce(this.#state).lenient(rules, undefined);
  }

  /** For people: what cannot be read, and what is gone by instead. */
  damaged(): readonly string[] {
    const book = this.isReadable
      ? []
      : [
          'quarantine.json is damaged: nobody is let go; put it back from a backup, or remove it and put the devices into quarantine again',
        ];
    const rules = this.#state.confirmed();
    const island =
      rules !== undefined && this.#isOnlyClosed(rules)
        ? [
            'what the confirmed rules were made of is not known: as an island, nothing but management is let through',
          ]
        : [];
    return [...this.#state.damaged(), ...book, ...island];
  }

  /** What has to be proven while this is declared. */
  policy(policy: Policy): Policy {
    return this.island === undefined ? policy : islanded(policy);
  }

  /** What rules on the disk were made of; undefined where that is not known. */
  policyOf(rules: string): Policy | undefined {
    const text = this.#state.policyTextOf(rules);
    return text === undefined ? undefined : policyOfText(text, digest(rules));
  }

  /** What a machine that starts loads: what is confirmed, with the island and whoever is in quarantine. */
  keepBoot(): void {
    // Also after a start that closed: the next one decides anew.
    const kept = this.#state.opened();
    if (kept !== undefined) this.#state.keepBoot(kept, this.lenient(kept.rules, undefined));
    this.#bootOwed = undefined;
  }

  /** The same for what takes away, which waits for no disk. */
  holdBoot(): void {
    try {
      this.keepBoot();
    } catch (error) {
      this.#bootOwed = errorText(error);
    }
  }

  /** Why something of it would not outlive this process, or a start of the machine; undefined where all is on the disk. */
  get owed(): string | undefined {
    return this.book.file.owed ?? this.mark.file.owed ?? this.#bootOwed;
  }

  /** Writes that. Throws where the disk still does not take it. */
  settle(): void {
    this.book.file.settle();
    this.mark.file.settle();
    this.keepBoot();
  }

  #cut(rules: string): string {
    if (this.island === undefined || rules === NO_RULES) return rules;
    const policy = this.policyOf(rules);
    if (policy !== undefined) return render(compile(islanded(policy)));
    if (this.#state.isClosed(rules)) return rules; // nothing in it to cut
    return this.#state.islandOf(rules) ?? this.#enclosing ?? NOTHING_PASSES;
  }

  /** Can they be cut to an island, or at least to management alone? */
  canBeCut(rules: string): boolean {
    const isCut = rules === NOTHING_PASSES || this.#state.isClosed(rules);
    return isCut || this.policyOf(rules) !== undefined || this.#enclosing !== undefined;
  }

  /** Is more cut than an island cuts? */
  #isOnlyClosed(rules: string): boolean {
    if (this.island === undefined || this.policyOf(rules) !== undefined) return false;
    const cut = this.#cut(rules);
    return cut !== rules && (cut === NOTHING_PASSES || this.#state.isClosed(cut));
  }

  get #enclosing(): string | undefined {
    const closed = this.#state.closed();
    return closed !== undefined && encloses(closed) ? closed : undefined;
  }

  /** What the next load shall find. What it finds instead somebody else put there: see `strange`. */
  expect(expected: Expected | undefined): void {
    this.#expected = expected;
  }

  /** What changes of ours found that others had done, and undid; each is told once. */
  strange(): readonly Strange[] {
    const strange = this.#strange;
    this.#strange = [];
    return strange;
  }

  get isStrange(): boolean {
    return this.#strange.length > 0;
  }

  /** The kernel holds these rules and what is in force beside them when this returns. */
  async load(nft: Nft, rules: string, suspects?: readonly Entry[]): Promise<Brought> {
    return this.#brought(nft, this.document(rules, suspects));
  }

  /**
   * For a return, which no damage may keep from happening; then connections are cut that nobody could open now. Where nobody
   * asked for it, as others changed what held, it is no change of ours that failed.
   */
  async bring(
    nft: Nft,
    rules: string,
    { isAsked = true }: { readonly isAsked?: boolean } = {},
  ): Promise<Brought & { readonly cut: Cut }> {
    const listing = this.isReadable ? undefined : await nft.list().catch(() => undefined);
    const brought = await this.#brought(nft, this.lenient(rules, listing), isAsked);
    return { ...brought, cut: await this.cut(rules) };
  }

  async #brought(nft: Nft, document: string, isAsked = true): Promise<Brought> {
    const expected = this.#expected;
    this.#expected = undefined;
    try {
      const brought = await bring(nft, document);
      this.unloaded.clear();
      if (expected !== undefined && brought.found !== undefined) this.#compare(expected, brought.found);
      return brought;
    } catch (error) {
      if (isAsked) this.unloaded.set(errorText(error), await nft.list().catch(() => undefined));
      throw error;
    }
  }

  #compare(expected: Expected, { listing }: NonNullable<Brought['found']>): void {
    if (expected.documents.some((document) => holds(listing, document))) return;
    // Nobody asks for more than the last few.
    this.#strange = [...this.#strange, { ...expected, listing }].slice(-MOST_STRANGE);
  }

  /** Is it known who is in quarantine? */
  get isReadable(): boolean {
    try {
      this.book.entries();
      return true;
    } catch {
      return false;
    }
  }

  /** Never throws: the rules hold already, and what could not be cut is told. */
  async cut(rules: string): Promise<Cut> {
    if (rules === NO_RULES) return { connections: 0, problem: undefined };
    const policy = this.policyOf(rules);
    if (policy === undefined)
      return { connections: 0, problem: 'what these rules were made from is not known' };
    try {
      const judge = new Judge(policyAt(this.policy(policy), epochMs(Date.now())), ownAddresses());
      return { connections: await cutAll((one) => judge.judge(one) === 'forbidden'), problem: undefined };
    } catch (error) {
      return { connections: 0, problem: errorText(error) };
    }
  }
}

/** Those that are opened anew between two looks are judged by the rules. */
export async function cutAll(wanted: (connection: Connection) => boolean): Promise<number> {
  return deleteConnections(await connectionsThat(wanted));
}
