import type { Task } from '../../src/core/task.ts';

interface Teardown {
  teardown(after: () => unknown): void;
}

/** Runs a task until the test ends, or until the function that comes back is called. */
export function runTask(t: Teardown, task: Task): () => Promise<void> {
  const stopped = new AbortController();
  const running = task.run(stopped.signal);
  const stop = async (): Promise<void> => {
    stopped.abort();
    await running;
  };
  t.teardown(stop);
  return stop;
}
