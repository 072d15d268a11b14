import { errorText } from '../core/errors.ts';
import { epochMs } from '../core/units.ts';
import { type Consequences, consequences, differing, unknown } from '../segmentation/consequences.ts';
import type { Audit, Deed, Who } from './audit.ts';
import { DriftBook, type DriftEvent } from './drift-book.ts';
import type { Firewall } from './firewall.ts';
import type { Found } from './inspect.ts';

// What somebody else did to our tables, as it is told.

const MOST_NAMES = 10;

export const eventOf = (
  found: Found,
  { gained, lost, packets, unclear }: Consequences,
  told: Pick<DriftEvent, 'by' | 'outcome' | 'detail'>,
): DriftEvent => ({
  time: new Date().toISOString(),
  what: whatOf(found),
  gained,
  lost,
  packets,
  unclear: unclear ?? null,
  change: found.change ?? null,
  ...told,
});

export async function recordEvent(audit: Audit, who: Who, event: DriftEvent): Promise<void> {
  const { by, what, gained, lost, packets, outcome, detail, unclear } = event;
  const found = `${by.at(-1) ?? 'nobody was seen'}; ${what.join(', ')}; ${gained[0] ?? lost[0] ?? packets[0] ?? unclear ?? 'no packet is judged otherwise'}`;
  const change = event.change === null ? {} : { change: event.change };
  await audit.record(who, { verb: 'drift', outcome: 'done', ...change, detail: found });
  await audit.record(who, {
    verb: 'heal',
    outcome: AUDITED[outcome],
    ...change,
    ...(detail !== null && { detail }),
  });
}

/**
 * What a command undid, written down where netd would: it sees that somebody was there, and finds nothing any more. What it
 * told and left is known already. Returns what differed.
 */
export async function recordUndone(firewall: Firewall, audit: Audit, who: Who): Promise<readonly string[]> {
  const book = new DriftBook(firewall.folder);
  const told: string[] = [];
  for (const found of firewall.undone()) {
    const last = book.read().events.at(-1);
    const what = whatOf(found);
    if (last !== undefined && last.outcome !== 'healed' && last.what.join() === what.join()) continue;
    const event = eventOf(found, effectOf(found), {
      by: [],
      outcome: 'healed',
      detail: 'a command undid it',
    });
    try {
      book.add(event);
    } catch {
      // A full disk: the audit says so too.
    }
    await recordEvent(audit, who, event);
    told.push(...what);
  }
  return told;
}

const AUDITED: Readonly<Record<DriftEvent['outcome'], Deed['outcome']>> = {
  healed: 'done',
  left: 'refused',
  failed: 'failed',
  'given up': 'failed',
};

export function whatOf({ listing, unreadable, document }: Found): string[] {
  if (unreadable !== undefined) return [`what nft cannot list: ${unreadable}`];
  const names = differing(listing, document);
  const more = names.length - MOST_NAMES;
  return more > 0 ? [...names.slice(0, MOST_NAMES), `and ${more} more`] : names;
}

/** Whatever it is, it is told. */
export function effectOf({ policy, listing, unreadable }: Found): Consequences {
  try {
    return unreadable === undefined
      ? consequences(policy, listing, epochMs(Date.now()))
      : unknown(unreadable);
  } catch (error) {
    return unknown(errorText(error));
  }
}
