import { existsSync } from 'node:fs';
import { formatDuration } from '../config/duration.ts';
import { errorText, SluiceError } from '../core/errors.ts';
import type { Duration } from '../core/units.ts';
import { visible } from '../core/visible.ts';
import type { Policy } from '../segmentation/policy.ts';
import {
  type Directory,
  EMPTY_DIRECTORY,
  isAddress,
  type Meant,
  suspectOf,
} from '../segmentation/suspects.ts';
import type { Audit, Deed, Who } from './audit.ts';
import type { AuditRation } from './audit-ration.ts';
import type { Firewall } from './firewall.ts';
import type { Actor, Intended } from './actor.ts';
import type { MustWork } from './must-work.ts';
import { isRead, onlyTakes, type Request, type Verb } from './request.ts';
import { appliedTold, confirmedTold, rolledBackTold, statusTold, type Told } from './tell.ts';
import { planTold } from './tell-plan.ts';
import { islandTold, quarantinedTold, rejoinedTold, releasedTold } from './tell-measures.ts';

// One request, whichever way it came: from the socket or from the command line.

export interface Declared {
  readonly policy: Policy;
  readonly confirmWithin: Duration;
  readonly mustWork: MustWork;
}

export interface Machine {
  readonly firewall: Firewall;
  readonly audit: Audit;
  /** Reads and compiles the configuration anew. */
  readonly declared: () => Promise<Declared>;
  /** Who has which address by the configuration, read anew. */
  readonly directory: () => Promise<Directory>;
}

export interface Asker {
  readonly who: Who;
  readonly opened?: Duration;
  /** Told that others may have their turn, though this is not done yet. */
  readonly aside?: () => void;
  /** Where whoever asks could fill the audit. */
  readonly ration?: AuditRation;
}

/** What gives more than there was may not happen unseen. What takes away does not wait for a disk. */
const UNSEEN_NEVER: readonly Verb[] = ['apply', 'confirm', 'release', 'rejoin'];

/** Throws what kept it from being done; the audit says so too. */
export async function perform(machine: Machine, request: Request, asker: Asker): Promise<Told> {
  const { verb, device, session, person } = request;
  const { ration } = asker;
  const who = { ...asker.who, ...(person !== undefined && { person }) };
  const why = reasonText(request);
  let known: Omit<Deed, 'verb' | 'outcome'> = {
    ...(why !== undefined && { detail: why }),
    ...(device !== undefined && { device }),
    ...(request.change !== undefined && { change: request.change }),
  };
  let unseen: string | undefined;
  // Where nothing was ever kept there is no audit yet: whoever only looks begins none.
  const isFresh = isRead(verb) && !existsSync(machine.firewall.folder);
  let isQuiet = isFresh || (ration?.leavesOut(verb, who.uid) ?? false);
  let begun = false;
  const note = async (outcome: Deed['outcome'], detail = ''): Promise<void> => {
    const deed = { verb, outcome, ...known, ...(detail !== '' && { detail }) };
    if (!isQuiet) unseen = (await machine.audit.record(who, deed)) ?? unseen;
  };
  const intend = async (what: Intended): Promise<void> => {
    const details = [known.detail, what.detail].filter((text) => text !== undefined);
    known = { ...known, ...what, ...(details.length > 0 && { detail: details.join('; ') }) };
    const before = ration !== undefined && !begun && onlyTakes(verb) ? ration.deed(who.uid) : '';
    isQuiet ||= before === undefined;
    begun = true;
    await note('intended', `${before ?? ''}${known.detail ?? ''}`);
    if (unseen === undefined || !UNSEEN_NEVER.includes(verb)) return;
    throw new SluiceError('SETUP', `the audit cannot be written, so nothing was changed: ${unseen}`, {
      remedy: `make room for ${machine.firewall.folder}; rollback, quarantine and island work without it`,
    });
  };
  const { opened, aside } = asker;
  const by = {
    intend,
    session,
    ...(opened !== undefined && { opened }),
    ...(aside !== undefined && { aside }),
  };
  let told: Told;
  try {
    told = await done(machine, request, by, whoText(who));
  } catch (error) {
    // What changed nothing is in the audit as often as what is refused.
    const before = ration !== undefined && !begun && !isQuiet ? ration.idle() : '';
    isQuiet ||= before === undefined;
    await note('failed', `${before ?? ''}${errorText(error)}`);
    throw error;
  }
  await note('done');
  return unseen === undefined ? told : withWarning(told, unseen);
}

async function done(
  { firewall, declared, directory }: Machine,
  request: Request,
  by: Actor,
  who: string,
): Promise<Told> {
  switch (request.verb) {
    case 'plan':
      return planTold(await firewall.known(), (await declared()).policy);
    case 'apply': {
      const { policy, confirmWithin, mustWork } = await declared();
      return appliedTold(await firewall.apply(policy, confirmWithin, by, mustWork));
    }
    case 'confirm': {
      const { change = '' } = request;
      await firewall.confirm(change, by);
      return confirmedTold(change);
    }
    case 'rollback':
      return rolledBackTold(await firewall.rollback(by));
    case 'status': {
      const { policy, wrong } = await declaredNow({ firewall, declared });
      return statusTold(await firewall.status(policy), wrong);
    }
    case 'quarantine': {
      const { device = '', lasts } = request;
      const { isKnown, meant } = await meantBy(device, directory);
      const asked = { who, because: request.because ?? '', lasts };
      const { beside } = meant;
      return quarantinedTold(await firewall.quarantine(meant, asked, by), { isKnown, beside });
    }
    case 'release':
      return releasedTold(await firewall.release(request.device ?? '', by));
    case 'island':
      return islandTold(await firewall.island({ who, because: request.because ?? '' }, by));
    case 'rejoin':
      await firewall.rejoin(by);
      return rejoinedTold();
    default:
      return request.verb satisfies never;
  }
}

/**
 * What the configuration declares; where it is wrong just now, or could be of others, what was declared when the rules
 * were applied that are in force, and why that is.
 */
export async function declaredNow({ firewall, declared }: Pick<Machine, 'firewall' | 'declared'>): Promise<{
  readonly policy: Policy | undefined;
  readonly wrong: string | undefined;
}> {
  try {
    return { policy: (await declared()).policy, wrong: undefined };
  } catch (error) {
    if (!(error instanceof SluiceError)) throw error;
    const [first = ''] = error.message.split('\n');
    const wrong = [first.replace(/:$/, ''), error.remedy].filter((text) => text !== undefined).join('; ');
    return { policy: firewall.policyInForce(), wrong };
  }
}

/** A file that is wrong just now, or could be of others, keeps nobody from being cut off by an address. */
async function meantBy(
  device: string,
  directory: Machine['directory'],
): Promise<{ readonly meant: Meant; readonly isKnown: boolean }> {
  let known: Directory;
  try {
    known = await directory();
  } catch (error) {
    if (!isAddress(device)) throw error;
    return { meant: suspectOf(device, EMPTY_DIRECTORY), isKnown: false };
  }
  return { meant: suspectOf(device, known), isKnown: true };
}

function withWarning(told: Told, unseen: string): Told {
  return {
    ...told,
    result: { ...told.result, unaudited: unseen },
    text: `${told.text}  this is not in the audit, which cannot be written: ${visible(unseen)}\n`,
  };
}

/** What a person gave as the reason; of a quarantine also for how long. */
function reasonText({ because, lasts }: Request): string | undefined {
  const words = [lasts === undefined ? undefined : `for ${formatDuration(lasts)}`, because];
  const given = words.filter((text) => text !== undefined);
  return given.length === 0 ? undefined : given.join(': ');
}

const whoText = ({ user, person }: Who): string => (person === undefined ? user : `${user} for ${person}`);
