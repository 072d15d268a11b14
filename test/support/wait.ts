import { setTimeout as pause } from 'node:timers/promises';

/** Waits for a state, never for a duration: asks `probe` until it answers something truthy. */
export async function until<T>(
  what: string,
  probe: () => T | Promise<T>,
  limitMs = 30_000,
): Promise<NonNullable<T>> {
  const end = Date.now() + limitMs;
  for (;;) {
    const answer = await probe();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`waited ${limitMs} ms in vain for: ${what}`);
    await pause(10);
  }
}

/**
 * The same on a machine that may be slow: gives up only when nothing moves any more, that is when `figure` answers the
 * same for so long. Says what it answered last.
 */
export async function untilStuck<T>(
  what: string,
  probe: () => T | Promise<T>,
  { figure, limitMs = 60_000 }: { readonly figure: () => Promise<unknown>; readonly limitMs?: number },
): Promise<NonNullable<T>> {
  let [known, end] = ['', Date.now() + limitMs];
  for (;;) {
    const answer = await probe();
    if (answer) return answer;
    const now = JSON.stringify(await figure());
    if (now !== known) [known, end] = [now, Date.now() + limitMs];
    else if (Date.now() > end) throw new Error(`nothing moves any more, in vain for: ${what}; ${known}`);
    await pause(10);
  }
}
