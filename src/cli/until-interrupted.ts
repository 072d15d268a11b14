import { SluiceError } from '../core/errors.ts';

/**
 * Work that a person may stop, and that cleans up behind itself: SIGINT and SIGTERM abort the signal, a second one
 * ends the process at once. `left` says in the end what is left of it.
 */
export async function untilInterrupted<T>(
  what: string,
  left: string,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const stop = new AbortController();
  const onSignal = (): void => {
    if (stop.signal.aborted) process.exit(1);
    stop.abort();
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  try {
    return await work(stop.signal);
  } catch (error) {
    if (!stop.signal.aborted || !isOf(error, stop.signal.reason)) throw error;
    throw new SluiceError('SETUP', `the ${what} was stopped`, { remedy: left });
  } finally {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
  }
}

/** What Node itself ends has the reason as its cause. */
const isOf = (error: unknown, reason: unknown): boolean =>
  error === reason || (error instanceof Error && error.name === 'AbortError' && error.cause === reason);
