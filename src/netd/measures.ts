import { parseAddress } from '../config/network.ts';
import { errorText, SluiceError } from '../core/errors.ts';
import { type Duration, epochMs } from '../core/units.ts';
import { visible } from '../core/visible.ts';
import type { Policy } from '../segmentation/policy.ts';
import type { Suspect } from '../segmentation/quarantine.ts';
import { canonicalName, type Managing, managingFrom, type Meant } from '../segmentation/suspects.ts';
import type { Intended } from './actor.ts';
import { ownAddresses } from './conntrack.ts';
import { type Cut, cutAll, type InForce } from './in-force.ts';
import { noPolicy } from './island.ts';
import type { Lock } from './lock.ts';
import { type Named, type Sightings, sightings } from './neighbours.ts';
import { Nft } from './nft.ts';
import { loadProven } from './objections.ts';
import { type Entry, isOver, lasting, longer } from './quarantine-book.ts';
import { digest, type State } from './state.ts';

// What somebody does about the network without changing what is declared: a device in quarantine, the gateway as an
// island. Whoever calls holds the lock.

export interface Ground {
  readonly state: State;
  readonly force: InForce;
  readonly lock: Lock;
  /** Does this process go on, and write down later what the disk does not take now? */
  readonly stays: boolean;
  /** Told what is about to be done; where it throws, nothing is done. */
  readonly intend: ((what: Intended) => Promise<void>) | undefined;
}

export interface Because {
  readonly who: string;
  readonly because: string;
}

/** The change without which nothing enforces it; undefined where the rules before that enforce it too. */
type GoesWith = string | undefined;

export interface Quarantined {
  readonly entry: Entry;
  /** Why it is written down and holds nobody back; undefined where the kernel does. */
  readonly notEnforced: string | undefined;
  readonly goesWith: GoesWith;
  /** That, and why, it is not on the disk, and how long it lasts then; undefined where it is. */
  readonly notKept: string | undefined;
  /** Why it is not known which other addresses it uses. */
  readonly notSeen: string | undefined;
  /** What management lets it do all the same. */
  readonly managing: readonly Managing[];
  /** It was there already, and for longer than was asked for now. */
  readonly isLonger: boolean;
  readonly cut: Cut;
}

/**
 * Of each family and device. A hostile one can take as many as it likes; four times MOST_ENTRIES is what the sets of the
 * kernel hold, and one that is full would let the next quarantine fail.
 */
const MOST_ADDRESSES = 4;

export async function quarantine(
  ground: Ground,
  meant: Meant,
  { who, because, lasts }: Because & { readonly lasts: Duration | undefined },
): Promise<Quarantined> {
  const { book } = ground.force;
  const own = new Set(ownAddresses());
  const ours = meant.addresses.find((address) => own.has(address));
  if (ours !== undefined) {
    throw new SluiceError('SETUP', `${ours} is an address of the gateway itself`, {
      remedy: 'to cut everything: ./sluice firewall island',
    });
  }
  const { device, aliases } = meant;
  const names = [device, ...aliases];
  const here = book.entries().filter((one) => names.includes(one.device) && !isOver(one));
  const mac = meant.mac ?? here.find((one) => one.mac !== undefined)?.mac;
  // One device, one entry. Other hardware under the same name is another one.
  const before = here.filter((one) => one.mac === undefined || one.mac === mac);
  const known = { device, mac };
  const { seen, notSeen } = await seenOf(ground, [known]);
  const addresses = bounded([
    ...meant.addresses,
    ...before.flatMap((one) => one.addresses),
    ...(seen.get(known.mac ?? '') ?? []),
  ]);
  const since = epochMs(Date.now());
  const asked = lasts === undefined ? undefined : lasting(lasts);
  // Whoever may put somebody here without an audit may not let them go that way.
  const left = before.reduce((most, one) => longer(one.left, most), asked);
  const entry = { ...known, addresses, who, because, since, left };
  const others = before.flatMap((one) => (one.device === device ? [] : one.device));
  await intended(ground, {
    device,
    ...(others.length > 0 && { detail: `in the place of ${others.join(', ')}` }),
  });
  const isHere = (one: Entry): boolean => before.some((other) => isSame(one, other));
  book.hold([...book.entries().filter((one) => !isOver(one) && !isHere(one)), entry]);
  const notEnforced = await enforced(ground);
  const [isLonger, cut] = [left !== asked, await cutOff(entry)];
  return {
    entry,
    notEnforced,
    goesWith: goesWith(ground),
    notKept: notKeptOf(ground),
    notSeen,
    managing: managingNow(ground, addresses),
    isLonger,
    cut,
  };
}

function managingNow({ state, force }: Facts, addresses: readonly string[]): readonly Managing[] {
  const rules = current(state);
  const policy = rules === undefined ? undefined : force.policyOf(rules);
  return policy === undefined ? [] : managingFrom(policy, addresses);
}

const isSame = (one: Entry, other: Entry): boolean => one.device === other.device && one.mac === other.mac;

/** The declared ones first; each of the others is one that the device chose itself. */
function bounded(addresses: readonly string[]): string[] {
  const all = [...new Set(addresses)];
  return [4, 6].flatMap((family) =>
    all.filter((one) => parseAddress(one)?.family === family).slice(0, MOST_ADDRESSES),
  );
}

/** What their neighbour, the gateway, has seen them use. */
async function seenOf({ state, force }: Facts, suspects: readonly Named[]): Promise<Sightings> {
  const rules = current(state);
  return sightings(suspects, rules === undefined ? [] : (force.policyOf(rules)?.devices ?? []));
}

type Facts = Pick<Ground, 'state' | 'force'>;

/** Those in quarantine by a hardware address that use an address which is not in it. Changes nothing. */
export async function strangers(facts: Facts): Promise<readonly Entry[]> {
  const entries = facts.force.quarantined.filter(({ mac }) => mac !== undefined);
  const { seen } = await seenOf(facts, entries);
  return entries.flatMap((entry) => {
    const addresses = bounded([...entry.addresses, ...(seen.get(entry.mac ?? '') ?? [])]);
    return addresses.length > entry.addresses.length ? [{ ...entry, addresses }] : [];
  });
}

/** Whoever is in quarantine by its hardware address and uses an address that is not: what goes there is cut too. */
export async function follow(ground: Ground): Promise<readonly Entry[]> {
  const { book } = ground.force;
  const found = await strangers(ground);
  if (found.length === 0) return [];
  for (const { device, addresses } of found)
    await intended(ground, { device, detail: `also ${addresses.join(', ')}` });
  book.hold(book.entries().map((one) => found.find((other) => isSame(one, other)) ?? one));
  // Also those whose time is over: to release them is for whoever writes that down.
  await enforced(ground, book.entries());
  for (const entry of found) await cutOff(entry);
  return found;
}

/** Its living connections are stopped by the rules at once; this way they are judged anew when it is released. */
async function cutOff({ addresses }: Suspect): Promise<Cut> {
  const ends = new Set(addresses);
  try {
    const connections = await cutAll(({ source, answers }) => ends.has(source) || ends.has(answers.address));
    return { connections, problem: undefined };
  } catch (error) {
    return { connections: 0, problem: errorText(error) };
  }
}

export interface Released {
  readonly released: readonly Entry[];
  /** They hold back one of the same addresses. */
  readonly others: readonly Entry[];
}

/** By its name, or one of its addresses. Throws where it is not in quarantine, or where that could be several. */
export async function release(ground: Ground, asked: string): Promise<Released> {
  const { book } = ground.force;
  const entries = book.entries();
  const device = calledOrHeld(asked, entries);
  const released = entries.filter((one) => one.device === device);
  await intended(ground, {
    device,
    ...(canonicalName(asked) !== device && { detail: `asked for as ${asked}` }),
  });
  const rest = entries.filter((one) => one.device !== device);
  book.write(rest);
  await enforced(ground);
  return {
    released,
    others: rest.filter((one) => !isOver(one) && released.some((two) => touches(one, two))),
  };
}

/** What it is called in the book. */
function calledOrHeld(asked: string, entries: readonly Entry[]): string {
  const name = canonicalName(asked);
  if (entries.some((one) => one.device === name)) return name;
  const holding = entries.filter((one) => one.mac === name || one.addresses.includes(name));
  const [device, ...others] = new Set(holding.map((one) => one.device));
  if (device === undefined) {
    throw new SluiceError('SETUP', `${visible(asked)} is not in quarantine`, {
      remedy: './sluice quarantine lists who is',
    });
  }
  if (others.length === 0) return device;
  const names = [device, ...others].map(visible);
  throw new SluiceError('SETUP', `${name} is held back by ${names.join(' and ')}: nobody is released`, {
    remedy: `say which: ./sluice release ${names[0]}`,
  });
}

const touches = (one: Entry, other: Entry): boolean =>
  (one.mac !== undefined && one.mac === other.mac) ||
  one.addresses.some((some) => other.addresses.includes(some));

/** Releases those whose time is over, and writes down what was counted for the next start of the machine. */
export async function releaseOverdue(ground: Ground): Promise<readonly Entry[]> {
  const { book } = ground.force;
  const over = book.entries().filter(isOver);
  for (const { device } of over) await intended(ground, { device, detail: TIME_IS_OVER });
  if (over.length > 0) {
    // What is loaded is without them, and the book keeps them until it is: else nobody would try again.
    await enforced(ground);
    book.hold(book.entries().filter((one) => !isOver(one)));
  }
  book.checkpoint();
  return over;
}

export const TIME_IS_OVER = 'its time is over';

export interface Islanded {
  /** A start has closed: it is what a roll back loads that is cut, and until then less passes. */
  readonly later: boolean;
  readonly cut: Cut;
  readonly goesWith: GoesWith;
  /** That, and why, it is not on the disk, and how long it lasts then; undefined where it is. */
  readonly notKept: string | undefined;
}

export async function island(ground: Ground, { who, because }: Because): Promise<Islanded> {
  const { force, state } = ground;
  const rules = current(state);
  const kept = state.confirmed();
  const opened = state.opened()?.rules;
  // A start that closed let management alone through: then it is what a roll back opens that has to be cut.
  const cuts = state.isShut && rules === kept ? opened : rules;
  const policy = cuts === undefined ? undefined : force.policyOf(cuts);
  // The mark lasts: what is gone back to has to be cut too.
  const cannot = [rules, kept, opened].some((one) => one !== undefined && !force.canBeCut(one));
  if (cannot || (rules !== undefined && policy === undefined)) throw noPolicy();
  if (rules === undefined || policy === undefined || policy.mode === 'off') {
    throw new SluiceError('SETUP', 'no rules of Sluice are in force: nothing can be cut', {
      remedy: './sluice firewall apply, then confirm; to cut by hand: ip link set INTERFACE down',
    });
  }
  if (!policy.flows.some(({ kind }) => kind === 'management')) {
    throw new SluiceError('SETUP', 'an island would lock out whoever manages the gateway', {
      remedy: 'declare segmentation.management, apply and confirm; then again',
    });
  }
  await intended(ground);
  force.mark.set({ since: epochMs(Date.now()), who, because });
  // Where this fails, the mark stays: whatever is loaded next is cut.
  force.holdBoot();
  await reload(ground, rules, force.policyOf(rules));
  return {
    later: cuts !== rules,
    cut: await force.cut(cuts ?? rules),
    goesWith: goesWith(ground),
    notKept: notKeptOf(ground),
  };
}

function goesWith({ state }: Ground): GoesWith {
  const pending = state.pending();
  return pending === undefined || enforces(state.before()) ? undefined : pending.id;
}

/** Do these rules hold back whoever is in quarantine, and are they cut to an island? Those of mode off are none. */
export const enforces = (rules: string): boolean => rules.includes('"q_mac"');

/** Throws where nothing would enforce what is in force now. */
export function mustEnforce({ force }: Pick<Ground, 'force'>, rules: string): void {
  if (enforces(rules)) return;
  const [first, ...others] = force.quarantined.map(({ device }) => visible(device));
  if (force.island === undefined && first === undefined) return;
  const more = others.length === 0 ? 'is' : `and ${others.length} more are`;
  const what = force.island === undefined ? `${first} ${more} in quarantine` : 'the gateway is an island';
  throw new SluiceError('SETUP', `with segmentation off nothing would enforce that ${what}`, {
    remedy: `first ${force.island === undefined ? `./sluice release ${first}` : './sluice firewall rejoin'}`,
  });
}

/** For whoever asked. */
export function notKeptOf({ force, stays }: Pick<Ground, 'force' | 'stays'>): string | undefined {
  if (force.owed === undefined) return undefined;
  return stays
    ? `it is not on the disk (${force.owed}): netd knows it, and writes it down as soon as there is room; until then it does not last over a start of netd or of the machine`
    : `it cannot be written down (${force.owed}): the kernel holds it until the next command, netd or a start of the machine; make room and say it again`;
}

export async function rejoin(ground: Ground): Promise<void> {
  const { force, state } = ground;
  const before = force.island;
  if (before === undefined) throw new SluiceError('SETUP', 'the gateway is no island');
  const rules = current(state);
  const opened = state.opened()?.rules;
  if ([rules, opened].some((one) => one !== undefined && state.islandOf(one) === one)) {
    throw new SluiceError('SETUP', 'what was confirmed is damaged, and what is left of it is cut', {
      remedy: './sluice firewall apply, then confirm; then again',
    });
  }
  await intended(ground);
  force.mark.clear();
  if (rules === undefined) return;
  try {
    force.keepBoot();
    await reload(ground, rules, force.policyOf(rules));
  } catch (error) {
    force.mark.set(before);
    force.holdBoot();
    throw error;
  }
}

/** Proven where it is known what the rules were made of. */
async function reload(ground: Ground, rules: string, policy: Policy | undefined): Promise<void> {
  const nft = new Nft({ lock: ground.lock.descriptor });
  if (policy === undefined) await ground.force.load(nft, rules);
  else await loadProven(ground.force, nft, rules, policy);
}

/** What holds, or waits to be confirmed; undefined where nothing was ever applied. */
export function current(state: State): string | undefined {
  return (state.pending() && state.candidate()) ?? state.confirmed();
}

async function intended({ state, intend }: Ground, of: Intended = {}): Promise<void> {
  const rules = current(state);
  await intend?.({ ...of, ...(rules !== undefined && { rules: digest(rules) }) });
}

/** Puts what is written down into the kernel; why nothing of it holds, where nothing does. */
async function enforced(
  ground: Ground,
  suspects: readonly Entry[] = ground.force.quarantined,
): Promise<string | undefined> {
  const { state, force, lock } = ground;
  force.holdBoot();
  const rules = current(state);
  if (rules === undefined) return 'no rules were ever applied: nothing enforces this';
  await force.load(new Nft({ lock: lock.descriptor }), rules, suspects);
  return enforces(rules) ? undefined : 'segmentation is off: nothing enforces this';
}
