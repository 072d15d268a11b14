import { createHash } from 'node:crypto';
import { existsSync, lstatSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { SluiceError } from '../core/errors.ts';
import { type Duration, type EpochMs, epochMs, milliseconds } from '../core/units.ts';
import { NOTHING_PASSES } from '../segmentation/closed.ts';
import { belongsTo } from '../segmentation/policy-text.ts';
import { withoutQuarantine } from '../segmentation/quarantine.ts';
import {
  AS_ROOT,
  makeFolder,
  nameDurably,
  prepareDurably,
  readWhole,
  removeDurably,
  writeDurably,
} from './durable.ts';
import { bootId, sinceBoot } from './monotonic.ts';
import { whoElse } from './ours.ts';
import { isUnsealed, sealed, unsealed } from './sealed.ts';
import { userName } from './users.ts';
import { isObject } from './request.ts';

/** A change that was, or is about to be, applied and is not confirmed. */
export interface Pending {
  readonly id: string;
  /** By the clock that nobody can set, of this boot; see monotonic.ts. */
  readonly until: Duration;
  readonly boot: string;
  readonly within: Duration;
  /** Digest of the rules that wait: once the confirmed ones have it, the change is confirmed, whatever else is on disk. */
  readonly rules: string;
  /** Its rules were proven to hold, and what must work was seen to work; until then nobody confirms it. */
  readonly tried: boolean;
  /** For people. */
  readonly since: EpochMs;
  /** The connection by which whoever applied came to this machine, where known; it may not confirm. */
  readonly session?: string;
}

/** Nothing of ours: what is gone back to before anything was ever confirmed. */
export const NO_RULES =
  '{"nftables":[\n{"add":{"table":{"family":"inet","name":"sluice"}}},\n{"delete":{"table":{"family":"inet","name":"sluice"}}}\n]}\n';

export const digest = (document: string): string => createHash('sha256').update(document).digest('hex');

/** What is gone back to until other rules are confirmed. */
export interface Kept {
  readonly rules: string;
  readonly from: 'confirmed.json' | 'boot.json' | 'closed.json';
  /** For people: why they are not read where they were written down; undefined where they are. */
  readonly lost: string | undefined;
}

/** What the next start of the machine loads. */
interface Booted {
  readonly document: string;
  /** Without whoever is in quarantine. */
  readonly rules: string;
  /** Digest of the rules that were confirmed. */
  readonly of: string | undefined;
}

const MENDED = 'confirmed.json.damaged';
const SHUT = 'shut.json';

/** Which rules hold or wait, and what they were made of. */
const STAMPED = [
  'confirmed.json',
  'confirmed-policy.json',
  'candidate.json',
  'candidate-policy.json',
  'pending.json',
  SHUT,
] as const;

/**
 * What of the firewall is on disk, in `segmentation/` below gateway.data:
 * `confirmed.json` the rules that hold until others are confirmed, as nft takes them (`nft -j -f`), sealed;
 * `candidate.json` the rules of a change that waits; `pending.json` the change; `rollback.log` what roll backs said;
 * `confirmed-policy.json` and `candidate-policy.json` what these rules were made of, for people;
 * `boot.json` what is loaded when the machine starts, `closed.json` what where that cannot be, both sealed;
 * `shut.json` says that this start of the machine closed, and that it stays so;
 * `before.json` what a first change returns to where there were rules in the kernel that nobody here knows.
 * Each is replaced as a whole and on the disk before anything goes on.
 */
export class State {
  readonly folder: string;
  readonly #strict: boolean;
  /** What the disk does not take is known to this process alone. */
  #shutFor: string | undefined;

  /** `strict` also refuses a folder that others could put another one in the place of. */
  constructor(
    data: string,
    { strict = false, folder }: { readonly strict?: boolean; readonly folder?: string } = {},
  ) {
    this.folder = folder ?? join(data, 'segmentation');
    this.#strict = strict;
  }

  /** Throws where it is not ours alone: whoever may write here decides what the network allows. */
  prepare(): void {
    makeFolder(this.folder);
    const there = lstatSync(this.folder);
    const { uid, mode } = there;
    const isOurs = uid === process.getuid?.();
    if (isOurs && (mode & 0o022) === 0 && there.isDirectory()) {
      if (this.#strict) this.#mustStay();
      return;
    }
    if (!isOurs && process.getuid?.() !== 0) {
      const [me, owner] = [process.getuid?.() ?? 0, uid].map(userName);
      throw new SluiceError('SETUP', `user ${me} may not change the rules: ${this.folder} is ${owner}'s`, {
        remedy: AS_ROOT,
      });
    }
    throw new SluiceError('SETUP', `${this.folder} can be written by others, or is no folder of this user`, {
      remedy: `what is in it decides what the network allows: chown root ${this.folder} && chmod 700 ${this.folder}`,
    });
  }

  #mustStay(): void {
    const others = whoElse(this.folder);
    if (others === undefined) return;
    throw new SluiceError(
      'SETUP',
      `somebody else could put another folder in the place of ${this.folder}: ${others}`,
      {
        remedy: `${dirname(this.folder)} has to be root's: chown root ${dirname(this.folder)}, with chmod +t where the gateway writes there too`,
      },
    );
  }

  /** Undefined where nothing was ever confirmed. What is damaged or gone is not that: see `kept`. */
  confirmed(): string | undefined {
    return this.kept()?.rules;
  }

  /**
   * No damage opens the network, and none keeps anybody from returning to something: where the confirmed rules cannot be
   * read they are those that a start of the machine would load, and where these cannot either, management alone.
   */
  kept(): Kept | undefined {
    const shut = this.#shut();
    if (shut === undefined) return this.opened();
    const lost = `this start of the machine loaded no confirmed rules (${shut}): nothing but management is let through until ./sluice firewall rollback`;
    return { rules: this.closed() ?? NOTHING_PASSES, from: 'closed.json', lost };
  }

  /** A start of the machine closed: so it stays, until somebody says otherwise or the machine is started again. */
  shut(why: string): void {
    this.#shutFor = why;
    this.#write(SHUT, `${JSON.stringify({ boot: bootId(), why }, undefined, 2)}\n`);
    this.#shutFor = undefined;
  }

  /** From now on what was confirmed is gone by again. True where it was not. */
  open(): boolean {
    const { isShut } = this;
    this.#shutFor = undefined;
    if (this.#isThere(SHUT)) removeDurably(this.#path(SHUT));
    return isShut;
  }

  get isShut(): boolean {
    return this.#shut() !== undefined;
  }

  #shut(): string | undefined {
    if (this.#shutFor !== undefined) return this.#shutFor;
    const json = parsed(this.#read(SHUT) ?? '');
    if (!isObject(json) || json['boot'] !== bootId()) return undefined;
    return typeof json['why'] === 'string' ? json['why'] : 'unknown';
  }

  /** What is gone back to where no start of the machine closed, or when that is over. */
  opened(): Kept | undefined {
    const text = this.#read('confirmed.json');
    const confirmed = text === undefined ? undefined : (unsealed(text)?.document ?? this.#vouched(text));
    if (confirmed !== undefined) return { rules: confirmed, from: 'confirmed.json', lost: undefined };
    if (text === undefined && !this.#isThere('boot.json') && !this.#isThere('closed.json')) return undefined;
    const why = `confirmed.json is ${text === undefined ? 'gone' : 'damaged'}`;
    const boot = this.booted();
    if (boot !== undefined) {
      const what = isAsConfirmed(boot) ? 'the same rules' : 'rules that an island may have cut';
      return { rules: boot.rules, from: 'boot.json', lost: `${why}; boot.json, ${what}, is gone by` };
    }
    const lost = `${why}, and boot.json too: nothing but management is let through`;
    return { rules: this.closed() ?? NOTHING_PASSES, from: 'closed.json', lost };
  }

  /**
   * An earlier version sealed no confirmed rules. They are whole where another file knows them, or where that version left
   * none that could; see `keepBoot`, which seals them. Undefined where they are not.
   */
  #vouched(text: string): string | undefined {
    if (!isUnsealed(text)) return undefined;
    const rules = digest(text);
    const boot = this.booted();
    const isKnown = boot?.rules === text || boot?.of === rules || this.policyTextOf(text) !== undefined;
    const isAlone = !this.#isThere('boot.json') && !this.#isThere('closed.json');
    return isKnown || isAlone ? text : undefined;
  }

  /** Undefined where it is missing or damaged. */
  booted(): Booted | undefined {
    const boot = this.#unsealed('boot.json');
    return boot && { ...boot, rules: withoutQuarantine(boot.document) };
  }

  /** What these rules were cut to an island to, as a start of the machine would load it; undefined where it would not. */
  islandOf(rules: string): string | undefined {
    const boot = this.booted();
    if (boot === undefined || isAsConfirmed(boot)) return undefined;
    return boot.rules === rules || boot.of === digest(rules) ? boot.rules : undefined;
  }

  /** The rules that let nothing but management through; undefined where they are missing or damaged. */
  closed(): string | undefined {
    return this.#unsealed('closed.json')?.document;
  }

  /** Another one when other rules are confirmed, or wait, or what they were made of; costs a few looks at a folder. */
  stamp(): string {
    const stamps = STAMPED.map((name) => {
      const there = statSync(this.#path(name), { throwIfNoEntry: false });
      return there === undefined ? 'none' : `${there.ino} ${there.mtimeMs}`;
    });
    return stamps.join(', ');
  }

  /** What a change that is not confirmed is taken back to. */
  before(): string {
    return this.confirmed() ?? this.#foreign() ?? NO_RULES;
  }

  /** There were rules of nobody known: then those of management alone, which are written twice. */
  #foreign(): string | undefined {
    const text = this.#read('before.json');
    if (text === undefined) return undefined;
    return unsealed(text)?.document ?? this.#unsealed('candidate-closed.json')?.document ?? NOTHING_PASSES;
  }

  /** What waits may be damaged: its digest is with the change. */
  candidate(): string | undefined {
    return this.#read('candidate.json');
  }

  /** Nobody can confirm a change whose rules are damaged. */
  isLost({ rules }: Pending): boolean {
    const candidate = this.candidate();
    return candidate === undefined || digest(candidate) !== rules;
  }

  /** Undefined where nothing waits. Throws where that cannot be known. */
  pending(): Pending | undefined {
    const text = this.#read('pending.json');
    if (text === undefined) return undefined;
    const pending = pendingOf(text);
    if (pending !== undefined) return pending;
    throw new SluiceError('SETUP', `${this.#path('pending.json')} is damaged`, {
      remedy: './sluice firewall rollback returns to the last confirmed rules',
    });
  }

  /** What the confirmed rules were made of; undefined where that is not known. */
  confirmedPolicy(): string | undefined {
    const confirmed = this.confirmed();
    if (confirmed === undefined) return undefined;
    // Whoever was killed right after a confirmation left it as the candidate.
    return this.policyTextOf(confirmed);
  }

  /** What rules on the disk were made of, the ones that wait among them; undefined where that is not known. */
  policyTextOf(document: string): string | undefined {
    const rules = digest(document);
    return this.#policy('confirmed-policy.json', rules) ?? this.#policy('candidate-policy.json', rules);
  }

  /** `policy` is what `policyText` made; `closed` the rules that let nothing but management through. */
  begin(pending: Pending, document: string, { policy, closed, before }: Beside): void {
    this.#write('candidate-policy.json', policy);
    this.#write('candidate-closed.json', sealed(closed));
    if (before !== undefined) this.#write('before.json', sealed(before));
    this.#write('candidate.json', document);
    this.#write('pending.json', pendingText(pending));
  }

  /** What is known of it now. */
  goOn(pending: Pending): void {
    this.#write('pending.json', pendingText(pending));
  }

  /**
   * From here on these are the rules to return to. `boot` is what is loaded when the machine starts. All of it is on the
   * disk before the first name changes: a full one keeps everything as it was, and a power cut in between leaves what
   * somebody confirmed to be loaded by whoever comes next.
   */
  confirm(document: string, boot = document): void {
    const closed = this.#read('candidate-closed.json');
    const files = [
      ['confirmed.json', sealed(document)],
      ['boot.json', sealed(boot, digest(document))],
      ...(closed === undefined ? [] : [['closed.json', closed] as const]),
    ] as const;
    for (const [name, text] of files) prepareDurably(this.#path(name), text);
    for (const [name] of files) nameDurably(this.#path(name));
    rmSync(this.#path(MENDED), { force: true });
    this.open();
  }

  /**
   * What is loaded when the machine starts, while these are the rules that were kept; written only where it differs. What
   * is only there stays: where nothing that was confirmed can be read any more, a start closes.
   */
  keepBoot({ rules, from }: Kept, document: string): void {
    if (from === 'closed.json') return;
    // A start that closed stays closed, and what made it close stays as it is for people.
    const isOurs = this.#isOurs('boot.json');
    if (this.isShut && (!isOurs || this.booted() === undefined)) return;
    if (from === 'confirmed.json' && isUnsealed(this.#read('confirmed.json') ?? ''))
      this.#write('confirmed.json', sealed(rules));
    const boot = from === 'boot.json' ? this.booted() : undefined;
    const of = boot === undefined ? digest(rules) : boot.of;
    // They were damaged, and are the same: before an island takes their place there too.
    if (boot !== undefined && isAsConfirmed(boot)) this.#mend(rules);
    const text = sealed(document, of);
    if (!isOurs || this.#read('boot.json') !== text) this.#write('boot.json', text);
  }

  /** A start of the machine loads no other ones. */
  #isOurs(name: string): boolean {
    const there = lstatSync(this.#path(name), { throwIfNoEntry: false });
    return there?.isFile() === true && there.uid === process.getuid?.() && (there.mode & 0o022) === 0;
  }

  /** What was damaged stays beside it, for people, until rules are confirmed. */
  #mend(rules: string): void {
    if (this.#isThere('confirmed.json')) renameSync(this.#path('confirmed.json'), this.#path(MENDED));
    this.#write('confirmed.json', sealed(rules));
  }

  /** For people: what of these files is damaged, or was, and what is gone by instead. */
  damaged(): readonly string[] {
    const lost = this.kept()?.lost;
    const was = `confirmed.json was damaged, and is written again from boot.json; ${MENDED} is what it was`;
    return [...(lost === undefined ? [] : [lost]), ...(this.#isThere(MENDED) ? [was] : [])];
  }

  hasClosed(): boolean {
    return this.closed() !== undefined;
  }

  /** Are these the rules that leave management alone open? */
  isClosed(document: string): boolean {
    return this.#read('closed.json') === sealed(document);
  }

  keepClosed(document: string): void {
    if (this.#read('closed.json') !== sealed(document)) this.#write('closed.json', sealed(document));
  }

  /** Nothing waits any more. */
  end(): void {
    this.#keepPolicy();
    const [pending = '', ...others] = [
      'pending.json',
      'candidate.json',
      'candidate-closed.json',
      'before.json',
    ].map((name) => this.#path(name));
    removeDurably(pending, ...others);
  }

  #policy(name: string, rules: string): string | undefined {
    const text = this.#read(name);
    return text !== undefined && belongsTo(text, rules) ? text : undefined;
  }

  /** What the confirmed rules were made of, written again where that was lost. */
  keepPolicy(policy: string): void {
    this.#write('confirmed-policy.json', policy);
  }

  /** The policy of a change that was confirmed stays with its rules; that of any other goes. Never in the way of a roll back. */
  #keepPolicy(): void {
    const [candidate, kept] = [this.#path('candidate-policy.json'), this.#path('confirmed-policy.json')];
    try {
      const confirmed = this.confirmed();
      const isConfirmed =
        confirmed !== undefined && this.#policy('candidate-policy.json', digest(confirmed)) !== undefined;
      if (isConfirmed) renameSync(candidate, kept);
      else rmSync(candidate, { force: true });
    } catch {
      // It is read by people alone, and one that belongs to other rules is not read at all.
    }
  }

  #unsealed(name: string): ReturnType<typeof unsealed> {
    const text = this.#read(name);
    return text === undefined ? undefined : unsealed(text);
  }

  #isThere(name: string): boolean {
    return existsSync(this.#path(name));
  }

  #read(name: string): string | undefined {
    return readWhole(this.#path(name));
  }

  #write(name: string, text: string): void {
    writeDurably(this.#path(name), text);
  }

  #path(name: string): string {
    return join(this.folder, name);
  }
}

/** What is written beside the rules of a change. */
export interface Beside {
  readonly policy: string;
  readonly closed: string;
  readonly before: string | undefined;
}

/** How long a change may still be confirmed; nothing where the machine was started since. */
export function remaining({ until, boot }: Pending): Duration {
  return milliseconds(boot === bootId() ? Math.max(0, until - sinceBoot()) : 0);
}

const pendingText = (pending: Pending): string => `${JSON.stringify(pending, undefined, 2)}\n`;

const isAsConfirmed = ({ rules, of }: Booted): boolean => of === digest(rules);

function pendingOf(text: string): Pending | undefined {
  const json = parsed(text);
  if (!isObject(json)) return undefined;
  const { id, until, boot, within, rules, tried, since, session } = json;
  if (typeof id !== 'string' || typeof boot !== 'string' || typeof rules !== 'string') return undefined;
  if (typeof until !== 'number' || typeof within !== 'number' || typeof since !== 'number') return undefined;
  return {
    id,
    boot,
    rules,
    until: milliseconds(until),
    within: milliseconds(within),
    tried: tried === true,
    since: epochMs(since),
    ...(typeof session === 'string' && { session }),
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
