// What the roof does now and then, beside the paths.
import type { CommandCounts } from './commands/commander.ts';
import type { Clock } from './core/clock.ts';
import { errorText } from './core/errors.ts';
import type { History, HistoryState } from './core/history.ts';
import type { Facts, Log } from './core/log.ts';
import type { Outbox, OutboxState } from './core/outbox.ts';
import type { Task } from './core/task.ts';
import { type Duration, hours, minutes } from './core/units.ts';
import type { GuardCounters } from './drivers/modbus/guard/book.ts';

/** Certificates live for months and are renewed weeks ahead; a look now and then is enough. */
const LOOK_AT_CERTIFICATE_EVERY = hours(6);
/** But one that was made under a wrong clock may be over, or not valid yet, in the moment when the clock is set. */
const LOOK_AT_CLOCK_EVERY = minutes(1);
/** A clock that others keep right is moved by less. */
const STEP = minutes(1);

/** One line of figures, so that the log of a year can be read. */
const FIGURES_EVERY = minutes(10);

/** Repeats `act` until aborted; a failure is logged and the next time may be better. */
function repeat(
  name: string,
  every: Duration,
  deps: { readonly clock: Clock; readonly log: Log },
  act: () => Promise<void>,
): Task {
  return {
    name,
    run: async (signal) => {
      while (!signal.aborted) {
        await deps.clock.sleep(every, signal).catch(() => {});
        if (signal.aborted) return;
        await act().catch((error: unknown) => deps.log.error(`${name} failed`, { error: errorText(error) }));
      }
    },
  };
}

/** Renews the gateway's certificate in time, at once where the clock was set, and hands it to whoever shows it. */
export function certificateWatch(
  identity: { renewIfDue(): Promise<boolean> },
  renewed: () => void,
  deps: { readonly clock: Clock; readonly log: Log },
): Task {
  const { clock, log } = deps;
  const ahead = (): number => clock.now() - clock.elapsed();
  let [looked, known] = [clock.elapsed(), ahead()];
  return repeat('certificate renewal', LOOK_AT_CLOCK_EVERY, deps, async () => {
    const stepped = Math.abs(ahead() - known) > STEP;
    if (!stepped && clock.elapsed() - looked < LOOK_AT_CERTIFICATE_EVERY) return;
    looked = clock.elapsed();
    const isNew = await identity.renewIfDue();
    known = ahead(); // where it could not be renewed the next look sees the step again
    if (!isNew) return;
    renewed();
    log.info('certificate renewed');
  });
}

const total = (counts: Readonly<Record<string, number>>): number =>
  Object.values(counts).reduce((sum, count) => sum + count, 0);

/** Commands that were carried out, that failed on the device, and that were refused for whatever reason. */
export function commandFigures({ done, failed, refused }: CommandCounts): Facts {
  return { commandsDone: done, commandsFailed: total(failed), commandsRefused: total(refused) };
}

/** Requests on guarded conduits. */
export function guardFigures(counters: Readonly<GuardCounters>): Facts {
  const { requests, forwarded, forbidden, broken, unanswered, busy } = counters;
  return {
    guardedRequests: requests,
    guardForwarded: forwarded,
    guardForbade: forbidden,
    guardBroken: broken,
    guardUnanswered: unanswered,
    guardBusy: busy,
  };
}

/** What waits to go up, and for how long there is room. */
export function outboxFigures(state: OutboxState): Facts {
  return {
    committed: state.samplesCommitted,
    lost: state.samplesLost,
    unrecorded: state.samplesUnrecorded,
    dropped: state.messagesDropped,
    nextSeq: state.nextSeq,
    waitingRows: state.rows,
    waitingBytes: state.bytes,
    holdsHours: inHours(state.holdsFor),
    drainsHours: inHours(state.drainsIn),
    outboxFailing: state.failing ?? 'no',
  };
}

/** What is kept on the gateway. */
export function historyFigures(state: HistoryState): Facts {
  return {
    filed: state.samplesFiled,
    behindHours: inHours(state.behind),
    late: state.samplesLate,
    refused: state.samplesRefused,
    diskBytes: state.bytes,
    diskQuota: state.quota,
    filesDropped: state.filesDropped,
    questionsRefused: state.questionsRefused,
    namesLeftOut: state.namesLeftOut,
    oldestRaw: state.oldestRaw === undefined ? 'none' : new Date(state.oldestRaw).toISOString(),
    historyFailing: state.failing ?? 'no',
  };
}

/** Hours with one decimal; text where nobody can know yet. */
function inHours(duration: Duration | undefined): number | string {
  return duration === undefined ? 'unknown' : Math.round((duration / hours(1)) * 10) / 10;
}

export interface FiguresDeps {
  readonly outbox: Outbox;
  readonly history: Pick<History, 'state'>;
  /** More figures of the moment. */
  readonly facts: () => Facts;
  readonly clock: Clock;
  readonly log: Log;
}

/** Logs what passed, what waits and what is kept. */
export function figures(deps: FiguresDeps): Task {
  return repeat('figures', FIGURES_EVERY, deps, async () => {
    const [outbox, history] = await Promise.all([deps.outbox.state(), deps.history.state()]);
    deps.log.info('figures', { ...deps.facts(), ...outboxFigures(outbox), ...historyFigures(history) });
  });
}
