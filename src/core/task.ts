/** Whatever runs until it is told to stop. `run` returns after its own clean-up, never before. */
export interface Task {
  readonly name: string;
  run(signal: AbortSignal): Promise<void>;
}

/**
 * Runs all tasks until `signal` is aborted or one of them fails; then stops the others and waits for them.
 * Throws the failure of the first task that failed for another reason than the stop itself.
 */
export async function runAll(tasks: readonly Task[], signal: AbortSignal): Promise<void> {
  const stop = new AbortController();
  const together = AbortSignal.any([signal, stop.signal]);
  const failures: unknown[] = [];
  await Promise.all(
    tasks.map(async (task) => {
      try {
        await task.run(together);
      } catch (error) {
        if (!together.aborted) failures.push(error);
      } finally {
        stop.abort();
      }
    }),
  );
  if (failures.length > 0) throw failures[0];
}
