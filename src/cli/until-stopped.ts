import { type Task, runAll } from '../core/task.ts';

/** A clean stop has this long; then the process ends anyway, because a supervisor or a person is waiting. */
const GRACE_MS = 10_000;

/** Runs the tasks until SIGINT or SIGTERM, or until one of them fails; a second signal ends the process at once. */
export async function runUntilStopped(tasks: readonly Task[], also?: AbortSignal): Promise<void> {
  const stop = new AbortController();
  const onSignal = (): void => {
    if (stop.signal.aborted) process.exit(1);
    stop.abort();
    // Not kept alive by this timer: it only bounds a stop that hangs.
    setTimeout(() => {
      process.stderr.write(`sluice: the stop took longer than ${GRACE_MS / 1000} s; ending now\n`);
      process.exit(1);
    }, GRACE_MS).unref();
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  try {
    await runAll(tasks, also ? AbortSignal.any([stop.signal, also]) : stop.signal);
  } finally {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
  }
}
