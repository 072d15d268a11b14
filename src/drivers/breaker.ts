import { type Random, unitWait } from './backoff.ts';

/**
 * Circuit breaker of one unit: closed while it answers; open after an attempt in vain, when it is only tried now and
 * then; probing while that one attempt is under way.
 */
export interface Breaker {
  state: 'closed' | 'open' | 'probing';
  /** Attempts in vain, without a time of answers between them that was longer than the wait. */
  failures: number;
  /** Attempts in vain in a row. */
  inARow: number;
  /** `Clock.elapsed`. */
  nextTry: number;
  lastWait: number;
  closedAt: number;
  silentSince: number | undefined;
  everHeard: boolean;
  /** Were people told that the unit is silent? */
  announced: boolean;
  /** Counts transitions: the outcome of an attempt from before the last one must not count twice. */
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
  breaker.silentSince ??= now;
  breaker.state = 'open';
  breaker.epoch += 1;
}

/** Any answer closes. Returns true where it was not closed before. */
export function closed(breaker: Breaker, now: number): boolean {
  breaker.everHeard = true;
  if (breaker.state === 'closed' && breaker.inARow === 0) return false;
  breaker.state = 'closed';
  breaker.inARow = 0;
  breaker.closedAt = now;
  breaker.epoch += 1;
  return true;
}
