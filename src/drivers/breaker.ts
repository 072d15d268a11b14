import { type Random, unitWait } from './backoff.ts';

/**
 * Circuit breaker of one unit: closed while it answers; open after an attempt in vain, when it is only tried now and
 * then; probing while that one attempt is under way. Times are `Clock.elapsed`.
 */
export interface Breaker {
  state: 'closed' | 'open' | 'probing';
  /** Attempts in vain, as far as answers between them lasted no longer than the wait: they choose the wait. */
  failures: number;
  /** Attempts in vain since the last answer. */
  inARow: number;
  nextTry: number;
  lastWait: number;
  closedAt: number;
  /** Beginning of the silence; undefined while the unit answers. */
  silentSince: number | undefined;
  everHeard: boolean;
  /** People were told that the unit is silent. */
  announced: boolean;
  /** Counts changes of state: an attempt from before the last one must not count twice. */
  epoch: number;
}

export function newBreaker(): Breaker {
  return {
    state: 'closed',
    failures: 0,
    inARow: 0,
    nextTry: Number.NEGATIVE_INFINITY,
    lastWait: 0,
    closedAt: Number.NEGATIVE_INFINITY,
    silentSince: undefined,
    everHeard: false,
    announced: false,
    epoch: 0,
  };
}

/** An attempt in vain that took `cost` ms. A unit that flaps faster than its wait goes on where it left off. */
export function opened(breaker: Breaker, now: number, cost: number, random: Random): void {
  const recovered = breaker.state === 'closed' && now - breaker.closedAt >= breaker.lastWait;
  breaker.failures = recovered ? 1 : breaker.failures + 1;
  breaker.inARow += 1;
  breaker.lastWait = unitWait(breaker.failures, cost, random);
  breaker.nextTry = now + breaker.lastWait;
  breaker.silentSince ??= now - cost;
  breaker.state = 'open';
  breaker.epoch += 1;
}

/** Any answer closes. */
export function closed(breaker: Breaker, now: number): void {
  breaker.everHeard = true;
  if (breaker.state === 'closed') return;
  breaker.state = 'closed';
  breaker.inARow = 0;
  breaker.closedAt = now;
  breaker.epoch += 1;
}
