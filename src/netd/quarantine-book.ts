import { join } from 'node:path';
import { SluiceError } from '../core/errors.ts';
import { type Duration, type EpochMs, epochMs, milliseconds, minutes } from '../core/units.ts';
import type { Suspect } from '../segmentation/quarantine.ts';
import { KeptFile } from './kept-file.ts';
import { bootId, sinceBoot } from './monotonic.ts';
import { isObject } from './request.ts';

export interface Entry extends Suspect {
  /** A name of gateway.yaml, or an address. */
  readonly device: string;
  readonly who: string;
  readonly because: string;
  /** For people. */
  readonly since: EpochMs;
  /** Undefined: until somebody releases it. */
  readonly left: Left | undefined;
}

/** How much of a quarantine was left at a moment, by every clock there is. */
export interface Left {
  readonly left: Duration;
  readonly boot: string;
  readonly at: Duration;
  readonly wall: EpochMs;
}

/** More than that is no longer a quarantine. An entry has a hardware address and at most a few others. */
export const MOST_ENTRIES = 256;
const MOST_BYTES = 1_048_576;
/** So long a clock that was wrong when the machine started has to be put right by the network before it is believed. */
export const CLOCK_GRACE: Duration = minutes(10);
/** What was counted in one start of the machine is written down that often, for the next one. */
const CHECKPOINT: Duration = minutes(10);

/**
 * Within one start of the machine the clock decides that nobody can set. What passed while it was off only the clock of
 * the wall can tell: one that went back counts as nothing, so that the rest is counted anew and ends; one that says it
 * is over is believed once the machine has been up for CLOCK_GRACE, when the network has put it right.
 */
export function leftOf({ left, boot, at, wall }: Left, now = clocks()): Duration {
  if (boot === now.boot) return milliseconds(Math.max(0, left - (now.at - at)));
  const byWall = Math.max(0, left - Math.max(0, now.wall - wall));
  return milliseconds(Math.max(byWall, CLOCK_GRACE - now.at));
}

interface Clocks {
  readonly boot: string;
  readonly at: Duration;
  readonly wall: EpochMs;
}

const clocks = (): Clocks => ({ boot: bootId(), at: sinceBoot(), wall: epochMs(Date.now()) });

export const lasting = (left: Duration): Left => ({ left, ...clocks() });

/** The one that ends later; undefined never ends. */
export function longer(a: Left | undefined, b: Left | undefined): Left | undefined {
  if (a === undefined || b === undefined) return undefined;
  return leftOf(a) > leftOf(b) ? a : b;
}

export const isOver = ({ left }: Entry): boolean => left !== undefined && leftOf(left) === 0;

/** `quarantine.json`: who is in quarantine, whatever becomes of the kernel, this process or gateway.yaml. */
export class QuarantineBook {
  readonly file: KeptFile;

  constructor(folder: string) {
    this.file = new KeptFile(join(folder, 'quarantine.json'));
  }

  /** Also those whose time is over and that nobody has released yet. Throws where it is damaged: that releases nobody. */
  entries(): readonly Entry[] {
    const text = this.file.read();
    if (text === undefined) return [];
    const entries = parsed(text);
    if (entries !== undefined) return entries;
    throw new SluiceError('SETUP', `${this.file.path} is damaged`, {
      remedy: 'put it back from a backup, or remove it and put the devices into quarantine again',
    });
  }

  /** Throws where the disk does not take it: then whoever was there stays. */
  write(entries: readonly Entry[]): void {
    this.file.write(textOf(entries));
  }

  /** The same, whatever becomes of the disk. */
  hold(entries: readonly Entry[]): void {
    this.file.hold(textOf(entries));
  }

  /** Is somebody's time over, or something to be written down for the next start of the machine? */
  isDue(): boolean {
    return this.entries().some(isOver) || this.#counted() !== undefined;
  }

  /** What was counted up to now, for the next start of the machine. */
  checkpoint(): void {
    const next = this.#counted();
    if (next !== undefined) this.hold(next);
  }

  /** Undefined where it was written down not long ago. */
  #counted(): readonly Entry[] | undefined {
    const now = clocks();
    const entries = this.entries();
    const next = entries.map((entry) => ({ ...entry, left: entry.left && moved(entry.left, now) }));
    return next.some((entry, i) => entry.left !== entries[i]?.left) ? next : undefined;
  }
}

function textOf(entries: readonly Entry[]): string {
  if (entries.length > MOST_ENTRIES) {
    throw new SluiceError('SETUP', `more than ${MOST_ENTRIES} devices in quarantine`, {
      remedy: 'release some, or cut everything: ./sluice firewall island',
    });
  }
  const text = `${JSON.stringify({ version: 1, entries }, undefined, 2)}\n`;
  if (Buffer.byteLength(text) > MOST_BYTES)
    throw new SluiceError('SETUP', 'the book of the quarantine is full');
  return text;
}

function moved(left: Left, now: Clocks): Left {
  const isRecent = left.boot === now.boot && now.at - left.at < CHECKPOINT;
  const isDoubtful = left.boot !== now.boot && now.at < CLOCK_GRACE;
  return isRecent || isDoubtful ? left : { ...now, left: leftOf(left, now) };
}

function parsed(text: string): Entry[] | undefined {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isObject(json) || json['version'] !== 1 || !Array.isArray(json['entries'])) return undefined;
  const entries = json['entries'].map(entryOf);
  return entries.every((entry) => entry !== undefined) ? entries : undefined;
}

function entryOf(json: unknown): Entry | undefined {
  if (!isObject(json)) return undefined;
  const { device, mac, addresses, who, because, since, left } = json;
  if (typeof device !== 'string' || typeof who !== 'string' || typeof because !== 'string') return undefined;
  if (typeof since !== 'number' || !Array.isArray(addresses) || !addresses.every(isText)) return undefined;
  const known = left === undefined ? undefined : leftFrom(left);
  if (left !== undefined && known === undefined) return undefined;
  return {
    device,
    mac: typeof mac === 'string' ? mac : undefined,
    addresses,
    who,
    because,
    since: epochMs(since),
    left: known,
  };
}

function leftFrom(json: unknown): Left | undefined {
  if (!isObject(json)) return undefined;
  const { left, boot, at, wall } = json;
  if (typeof left !== 'number' || typeof boot !== 'string') return undefined;
  if (typeof at !== 'number' || typeof wall !== 'number') return undefined;
  return { left: milliseconds(left), boot, at: milliseconds(at), wall: epochMs(wall) };
}

const isText = (value: unknown): value is string => typeof value === 'string';
