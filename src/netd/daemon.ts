import { errorText, SluiceError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { Task } from '../core/task.ts';
import { type Duration, milliseconds, seconds } from '../core/units.ts';
import type { Policy } from '../segmentation/policy.ts';
import { takenBack, type Who } from './audit.ts';
import { AuditRation } from './audit-ration.ts';
import { BootReport, type Reported } from './boot-report.ts';
import { Bucket } from './bucket.ts';
import { DriftBook } from './drift-book.ts';
import { driftTasks } from './drift.ts';
import { lockOf } from './lock.ts';
import { observingWatch } from './observing-ends.ts';
import { declaredNow, type Machine, perform } from './perform.ts';
import { isRead, onlyTakes, type Request } from './request.ts';
import { type Caller, type Permitted, server } from './server.ts';
import { ShadowWatch } from './shadow.ts';
import type { Told } from './tell.ts';
import { userName } from './users.ts';
import { ToldOnce, glances } from './told-once.ts';
import { MeasureWatch } from './watch-measures.ts';

/** The guards go first; who has not taken a change back by then is dead. */
const GRACE: Duration = seconds(5);
/** Each is proven and read back, which takes a small box a second. */
const CHANGES_AT_ONCE = 5;
const CHANGES_EACH: Duration = seconds(2);
const OURSELVES: Who = { uid: process.getuid?.() ?? 0, user: 'netd', via: 'netd' };
const NONE_ELSE: Duration = milliseconds(0);

export interface NetdParts extends Machine {
  readonly gateway: string;
  readonly config: string;
  readonly socket: string;
  readonly permitted: Permitted;
  /** What the script said that loaded rules when the machine started. */
  readonly bootReport: string;
  /** Is what another program changes put right? Read anew. */
  readonly heal: () => Promise<boolean>;
  readonly log: Log;
}

/** The tasks of netd. Throws where another one has these rules. */
export async function netd(parts: NetdParts): Promise<readonly Task[]> {
  const { firewall, gateway, config, socket, permitted, log } = parts;
  firewall.prepare();
  // For as long as this process lives.
  await lockOf(firewall.folder, NONE_ELSE, { name: 'netd.lock', taken: 'another netd has these rules' });
  const report = new BootReport(parts.bootReport);
  firewall.heeds(report);
  await afterBoot(parts, report);
  await keepForBoot(parts);
  const desk = new Desk(parts);
  const book = new DriftBook(firewall.folder);
  const shadow = new ShadowWatch({
    policy: async () => policyNow(parts),
    closed: () => book.read().stopped !== undefined,
    log,
  });
  return [
    server({
      socket,
      greeting: { gateway, config },
      permitted,
      handle: async (request, caller) => desk.handle(request, caller),
      refuse: (uid, why) => desk.refuse(uid, why),
      log,
    }),
    ...driftTasks({ ...parts, book, who: OURSELVES, elsewhere: () => shadow.look() }),
    shadow,
    new MeasureWatch({ firewall, audit: parts.audit, who: OURSELVES, log }),
    observingWatch({ firewall, audit: parts.audit, who: OURSELVES, log }),
    { name: 'overdue changes', run: async (signal) => watch(parts, report, signal) },
  ];
}

/** Throws where neither the file nor the rules in force tell it. */
async function policyNow(parts: NetdParts): Promise<Policy> {
  const { policy, wrong } = await declaredNow(parts);
  if (policy === undefined) throw new SluiceError('SETUP', wrong ?? 'nothing is declared');
  return policy;
}

/** What is not written stands in the log; it is tried again after the next change. */
async function keepForBoot(parts: NetdParts): Promise<void> {
  const { firewall, log } = parts;
  const lost = await firewall.keepForBoot(async () => policyNow(parts));
  if (lost !== undefined)
    log.error('a start of the machine would not load what is confirmed', { error: lost });
}

/** Once: what was told is called so. Undefined where there is nothing to tell. */
async function tellBoot({ audit, log }: NetdParts, report: BootReport): Promise<Reported | undefined> {
  const reported = report.read();
  if (reported === undefined) return undefined;
  const { outcome, says, isGood } = reported;
  if (isGood) log.info('when the machine started', { outcome, says });
  else log.error('when the machine started', { outcome, says });
  await audit.record(OURSELVES, {
    verb: 'boot',
    outcome: isGood ? 'done' : 'failed',
    detail: `${outcome}: ${says}`,
  });
  return reported;
}

/** What the start of the machine came to, before anything else is done. */
async function afterBoot(parts: NetdParts, report: BootReport): Promise<void> {
  const reported = await tellBoot(parts, report);
  if (reported === undefined) return;
  if (reported.isGood) await heedBoot(parts);
  // What follows from it is said by whoever says why.
  else await staysShut(parts, reported.says.split('; ')[0] ?? reported.says);
  // Where it stays, it is told again next time.
  report.told();
}

/**
 * The unit was started again while we run. What it loaded from what is confirmed ends a start that closed; where it closed,
 * we know what is confirmed, and what another program loads is put right.
 */
async function unitStarted(parts: NetdParts, report: BootReport): Promise<void> {
  if (report.read() === undefined) return;
  await heedBoot(parts);
  await tellBoot(parts, report);
  report.told();
}

/** What is not loaded now is tried again with all that others change. */
async function heedBoot({ firewall, log }: NetdParts): Promise<void> {
  try {
    await firewall.heed();
  } catch (error) {
    log.error('what is confirmed is not loaded', { error: errorText(error) });
  }
}

async function staysShut(parts: NetdParts, why: string): Promise<void> {
  const { firewall, log } = parts;
  try {
    const isShut = await firewall.shut(why, async () => policyNow(parts));
    if (!isShut) log.info('the start of the machine closed, and somebody opened it since');
  } catch (error) {
    log.error('what lets management alone through is not loaded', { error: errorText(error) });
  }
}

/** Takes requests one after the other: changes among themselves, reads among themselves. */
class Desk {
  readonly #parts: NetdParts;
  readonly #changes = new Bucket(CHANGES_AT_ONCE, CHANGES_EACH);
  readonly #ration = new AuditRation();
  readonly #changing = new Turns();
  readonly #reading = new Turns();

  constructor(parts: NetdParts) {
    this.#parts = parts;
  }

  async handle(request: Request, { uid, opened }: Caller): Promise<Told> {
    const who = whoIs(uid);
    const asker = { who, opened, ration: this.#ration };
    const act = async (aside?: () => void): Promise<Told> => {
      const told = await perform(this.#parts, request, { ...asker, ...(aside && { aside }) });
      if (!isRead(request.verb)) await keepForBoot(this.#parts);
      return told;
    };
    if (isRead(request.verb)) return this.#reading.next(async () => act());
    if (!onlyTakes(request.verb) && !this.#changes.take()) {
      this.refuse(uid, `too many changes: ${request.verb}`);
      throw new SluiceError('SETUP', 'too many changes one after the other', {
        remedy: `wait ${CHANGES_EACH / 1_000} s; rollback and quarantine are not held up`,
      });
    }
    this.#parts.log.info('asked for a change', { verb: request.verb, user: who.user });
    return this.#changing.next(act);
  }

  refuse(uid: number | undefined, why: string): void {
    const { audit, log } = this.#parts;
    const left = this.#ration.idle();
    if (left === undefined) return;
    const who = uid === undefined ? { uid: -1, user: 'unknown', via: 'socket' as const } : whoIs(uid);
    log.warn('refused', { user: who.user, why });
    void audit.record(who, { verb: 'connect', outcome: 'refused', detail: `${left}${why}` });
  }
}

const whoIs = (uid: number): Who => ({ uid, user: userName(uid), via: 'socket' });

/** One after the other, in their order. Who says so goes on beside the next ones. */
class Turns {
  #last: Promise<void> = Promise.resolve();

  async next<T>(act: (aside: () => void) => Promise<T>): Promise<T> {
    const before = this.#last;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#last = promise;
    await before;
    try {
      return await act(resolve);
    } finally {
      resolve();
    }
  }
}

/** The third who takes a change back, for when somebody killed both of its guards; and what a power cut left waiting. */
async function watch(parts: NetdParts, report: BootReport, signal: AbortSignal): Promise<void> {
  const { firewall, audit, log } = parts;
  let waited = firewall.waits();
  const look = async (): Promise<void> => {
    await unitStarted(parts, report);
    const settled = await firewall.settle(GRACE);
    const before = waited;
    waited = firewall.waits();
    // By its guards, or by a command that did not ask us.
    if (settled === undefined && before !== undefined && before !== waited)
      log.info('a change waits no more', { change: before, see: './sluice firewall audit' });
    if (settled === undefined) return;
    const { id, why } = settled;
    log.warn(`rolled back: ${why}`, { change: id });
    await audit.record(OURSELVES, takenBack(id, why));
  };
  await glances(
    look,
    new ToldOnce((error) => log.error('cannot roll back what is overdue', { error })),
    signal,
  );
}
