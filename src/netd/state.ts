import { createHash } from 'node:crypto';
import { lstatSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { SluiceError } from '../core/errors.ts';
import { type Duration, type EpochMs, epochMs, milliseconds } from '../core/units.ts';
import { belongsTo } from '../segmentation/policy-text.ts';
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
import { sealed } from './sealed.ts';
import { userName } from './users.ts';

/** A change that was, or is about to be, applied and is not confirmed. */
export interface Pending {
  readonly id: string;
  /** By the clock that nobody can set, of this boot; see monotonic.ts. */
  readonly until: Duration;
  readonly boot: string;
  readonly within: Duration;
  /** Digest of the rules that wait: once the confirmed ones have it, the change is confirmed, whatever else is on disk. */
  readonly rules: string;
  /** For people. */
  readonly since: EpochMs;
  /** The connection by which whoever applied came to this machine, where known; it may not confirm. */
  readonly session?: string;
}

/** Nothing of ours: what is gone back to before anything was ever confirmed. */
export const NO_RULES =
  '{"nftables":[\n{"add":{"table":{"family":"inet","name":"sluice"}}},\n{"delete":{"table":{"family":"inet","name":"sluice"}}}\n]}\n';

export const digest = (document: string): string => createHash('sha256').update(document).digest('hex');

/** Which rules hold or wait, and what they were made of. */
const STAMPED = [
  'confirmed.json',
  'confirmed-policy.json',
  'candidate.json',
  'candidate-policy.json',
  'pending.json',
] as const;

/**
 * What of the firewall is on disk, in `segmentation/` below gateway.data:
 * `confirmed.json` the rules that hold until others are confirmed, as nft takes them (`nft -j -f`);
 * `candidate.json` the rules of a change that waits; `pending.json` the change; `rollback.log` what roll backs said;
 * `confirmed-policy.json` and `candidate-policy.json` what these rules were made of, for people;
 * `boot.json` what is loaded when the machine starts, `closed.json` what where that cannot be, both sealed;
 * `before.json` what a first change returns to where there were rules in the kernel that nobody here knows.
 * Each is replaced as a whole and on the disk before anything goes on.
 */
export class State {
  readonly folder: string;
  readonly #strict: boolean;

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

  /** Undefined where nothing was ever confirmed. Throws where it is there and no rules: that is not the same. */
  confirmed(): string | undefined {
    return this.#rules('confirmed.json');
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
    return this.confirmed() ?? this.#rules('before.json') ?? NO_RULES;
  }

  candidate(): string | undefined {
    return this.#rules('candidate.json');
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
    if (before !== undefined) this.#write('before.json', before);
    this.#write('candidate.json', document);
    this.#write('pending.json', pendingText(pending));
  }

  /** Its time begins anew. */
  prolong(pending: Pending): void {
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
      ['confirmed.json', document],
      ['boot.json', sealed(boot)],
      ...(closed === undefined ? [] : [['closed.json', closed] as const]),
    ] as const;
    for (const [name, text] of files) prepareDurably(this.#path(name), text);
    for (const [name] of files) nameDurably(this.#path(name));
  }

  /** What is loaded when the machine starts; written only where it differs. */
  keepBoot(document: string): void {
    if (this.#read('boot.json') !== sealed(document)) this.#write('boot.json', sealed(document));
  }

  hasClosed(): boolean {
    return this.#read('closed.json') !== undefined;
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

  #rules(name: string): string | undefined {
    const text = this.#read(name);
    if (text === undefined || isRules(text)) return text;
    throw new SluiceError('SETUP', `${this.#path(name)} is damaged: it holds no rules`, {
      remedy: 'put it back from a backup, or remove it and apply again',
    });
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

function isRules(text: string): boolean {
  const document = parsed(text);
  return isRecord(document) && Array.isArray(document['nftables']);
}

function pendingOf(text: string): Pending | undefined {
  const json = parsed(text);
  if (!isRecord(json)) return undefined;
  const { id, until, boot, within, rules, since, session } = json;
  if (typeof id !== 'string' || typeof boot !== 'string' || typeof rules !== 'string') return undefined;
  if (typeof until !== 'number' || typeof within !== 'number' || typeof since !== 'number') return undefined;
  return {
    id,
    boot,
    rules,
    until: milliseconds(until),
    within: milliseconds(within),
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

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
