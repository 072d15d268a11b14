import type { Log } from '../core/log.ts';
import type { Task } from '../core/task.ts';
import type { EpochMs } from '../core/units.ts';
import { isObserved } from '../segmentation/policy-at.ts';
import type { Policy } from '../segmentation/policy.ts';
import type { Audit, Who } from './audit.ts';
import type { Firewall } from './firewall.ts';
import { ToldOnce, glances } from './told-once.ts';

// The kernel ends observing by itself, for new connections: what is open goes on by the rule for open ones. Whoever
// watches here cuts what only observing let in.

/** The times at which observing ends, as far as rules are in force that have any. */
export class ObservingEnds {
  #stamp: string | undefined;
  #ends: readonly EpochMs[] = [];
  #told: ReadonlySet<EpochMs> = new Set();

  /** `stamp` is another one when the rules are; only then the policy is asked for. */
  know(stamp: string, policy: () => Policy | undefined): void {
    if (stamp === this.#stamp) return;
    this.#ends = endsOf(policy());
    this.#stamp = stamp;
  }

  /** Those that are over; a clock that is set back makes them ends to come. */
  #over(now: EpochMs): EpochMs[] {
    return this.#ends.filter((until) => !isObserved(until, now));
  }

  /** Is one over that was not told yet? */
  isDue(now: EpochMs): boolean {
    const over = this.#over(now);
    this.#told = new Set(over.filter((until) => this.#told.has(until)));
    return over.length > this.#told.size;
  }

  tell(now: EpochMs): void {
    this.#told = new Set(this.#over(now));
  }
}

function endsOf(policy: Policy | undefined): EpochMs[] {
  if (policy === undefined || policy.mode === 'off') return [];
  const { observeUntil, observed = [] } = policy;
  return [...new Set([observeUntil, ...observed.map(({ until }) => until)])].filter(
    (end) => end !== undefined,
  );
}

interface Parts {
  readonly firewall: Firewall;
  readonly audit: Audit;
  readonly log: Log;
  readonly who: Who;
}

export const observingWatch = (parts: Parts): Task => ({
  name: 'ends of observing',
  run: async (signal) => watch(parts, signal),
});

async function watch({ firewall, audit, log, who }: Parts, signal: AbortSignal): Promise<void> {
  const look = async (): Promise<void> => {
    const cut = await firewall.endObserving();
    if (cut === undefined || (cut.connections === 0 && cut.problem === undefined)) return;
    const { connections, problem } = cut;
    log.warn('observing is over: connections that only it let in are cut', { connections, problem });
    const detail = `observing is over: ${connections} connections cut${problem === undefined ? '' : `; ${problem}`}`;
    const outcome = problem === undefined ? 'done' : 'failed';
    await audit.record(who, { verb: 'cut', outcome, detail });
  };
  const told = new ToldOnce((error) => log.error('cannot cut what only observing let in', { error }));
  await glances(look, told, signal);
}
