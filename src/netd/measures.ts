import { errorText, SluiceError } from '../core/errors.ts';
import { type Duration, epochMs } from '../core/units.ts';
import type { Policy } from '../segmentation/policy.ts';
import type { Suspect } from '../segmentation/quarantine.ts';
import { ownAddresses } from './conntrack.ts';
import { type Cut, cutAll, type InForce } from './in-force.ts';
import type { Lock } from './lock.ts';
import { Nft } from './nft.ts';
import { loadProven } from './objections.ts';
import { type Entry, isOver, lasting } from './quarantine-book.ts';
import { digest, type State } from './state.ts';

// What somebody does about the network without changing what is declared: a device in quarantine, the gateway as an
// island. Whoever calls holds the lock.

export interface Ground {
  readonly state: State;
  readonly force: InForce;
  readonly lock: Lock;
  /** Told what is about to be done; where it throws, nothing is done. */
  readonly intend: ((what: { readonly rules?: string }) => Promise<void>) | undefined;
}

export interface Because {
  readonly who: string;
  readonly because: string;
}

export interface Quarantined {
  readonly entry: Entry;
  /** Why it is written down and holds nobody back; undefined where the kernel does. */
  readonly notEnforced: string | undefined;
  readonly cut: Cut;
}

export async function quarantine(
  ground: Ground,
  suspect: Suspect & { readonly device: string },
  { who, because, lasts }: Because & { readonly lasts: Duration | undefined },
): Promise<Quarantined> {
  const { book } = ground.force;
  const own = new Set(ownAddresses());
  const ours = suspect.addresses.find((address) => own.has(address));
  if (ours !== undefined) {
    throw new SluiceError('SETUP', `${ours} is an address of the gateway itself`, {
      remedy: 'to cut everything: ./sluice firewall island',
    });
  }
  const { device, mac, addresses } = suspect;
  const since = epochMs(Date.now());
  const left = lasts === undefined ? undefined : lasting(lasts);
  const entry = { device, mac, addresses, who, because, since, left };
  await intended(ground);
  book.write([...book.entries().filter((one) => one.device !== device && !isOver(one)), entry]);
  const notEnforced = await enforced(ground);
  return { entry, notEnforced, cut: await cutOff(suspect) };
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

/** By its name, or one of its addresses. Throws where it is not in quarantine. */
export async function release(ground: Ground, device: string): Promise<readonly Entry[]> {
  const { book } = ground.force;
  const entries = book.entries();
  const isMeant = (one: Entry): boolean =>
    one.device === device || one.mac === device.toLowerCase() || one.addresses.includes(device);
  const released = entries.filter(isMeant);
  if (released.length === 0) {
    throw new SluiceError('SETUP', `${device} is not in quarantine`, {
      remedy: './sluice quarantine lists who is',
    });
  }
  await intended(ground);
  book.write(entries.filter((one) => !isMeant(one)));
  await enforced(ground);
  return released;
}

/** Releases those whose time is over, and writes down what was counted for the next start of the machine. */
export async function releaseOverdue(ground: Ground): Promise<readonly Entry[]> {
  const { book } = ground.force;
  const over = book.entries().filter(isOver);
  if (over.length > 0) {
    await intended(ground);
    book.write(book.entries().filter((one) => !isOver(one)));
    await enforced(ground);
  }
  book.checkpoint();
  return over;
}

export async function island(ground: Ground, { who, because }: Because): Promise<{ readonly cut: Cut }> {
  const { force, state } = ground;
  const rules = current(state);
  const policy = rules === undefined ? undefined : force.policyOf(rules);
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
  await reload(ground, rules, policy);
  return { cut: await force.cut(rules) };
}

export async function rejoin(ground: Ground): Promise<void> {
  const { force, state } = ground;
  const before = force.island;
  if (before === undefined) throw new SluiceError('SETUP', 'the gateway is no island');
  await intended(ground);
  force.mark.clear();
  const rules = current(state);
  const policy = rules === undefined ? undefined : force.policyOf(rules);
  if (rules === undefined || policy === undefined) return;
  try {
    await reload(ground, rules, policy);
  } catch (error) {
    force.mark.set(before);
    keepBoot(ground);
    throw error;
  }
}

async function reload(ground: Ground, rules: string, policy: Policy): Promise<void> {
  keepBoot(ground);
  await loadProven(ground.force, new Nft({ lock: ground.lock.descriptor }), rules, policy);
}

/** What holds, or waits to be confirmed; undefined where nothing was ever applied. */
export function current(state: State): string | undefined {
  return (state.pending() && state.candidate()) ?? state.confirmed();
}

async function intended({ state, intend }: Ground): Promise<void> {
  const rules = current(state);
  await intend?.(rules === undefined ? {} : { rules: digest(rules) });
}

/** A machine that starts loads it too. */
export function keepBoot({ state, force }: Pick<Ground, 'state' | 'force'>): void {
  const confirmed = state.confirmed();
  if (confirmed !== undefined) state.keepBoot(force.document(confirmed));
}

/** Puts what is written down into the kernel; why nothing of it holds, where nothing does. */
async function enforced(ground: Ground): Promise<string | undefined> {
  const { state, force, lock } = ground;
  keepBoot(ground);
  const rules = current(state);
  if (rules === undefined) return 'no rules were ever applied: nothing enforces this';
  await force.load(new Nft({ lock: lock.descriptor }), rules);
  return rules.includes('"q_mac"') ? undefined : 'segmentation is off: nothing enforces this';
}
