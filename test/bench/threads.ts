import { readFileSync, readdirSync } from 'node:fs';

const TICKS_PER_SECOND = 100; // USER_HZ, as in measure.ts

/** User and system time of the threads of this process, in seconds, together where they have the same name. */
export function threadTimes(): Map<string, number> {
  const times = new Map<string, number>();
  for (const id of readdirSync('/proc/self/task')) {
    let stat: string;
    try {
      stat = readFileSync(`/proc/self/task/${id}/stat`, 'utf8');
    } catch {
      continue; // it has just ended
    }
    const end = stat.lastIndexOf(')');
    const name = stat.slice(stat.indexOf('(') + 1, end);
    const fields = stat.slice(end + 2).split(' ');
    const spent = (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
    times.set(name, (times.get(name) ?? 0) + spent);
  }
  return times;
}

/** What was spent in between, by the names that the store gives its threads. */
export interface ThreadSpent {
  /** The main thread: generator, messages, queries. */
  readonly main: number;
  readonly store: number;
  readonly historian: number;
  /** Of the engine: garbage collection, compilation. */
  readonly others: number;
}

export function threadSpent(
  before: ReadonlyMap<string, number>,
  after: ReadonlyMap<string, number>,
): ThreadSpent {
  const spent = (name: string): number => (after.get(name) ?? 0) - (before.get(name) ?? 0);
  const [main, store, historian] = [spent('MainThread'), spent('outbox'), spent('history')];
  const all = [...after.keys()].reduce((sum, name) => sum + spent(name), 0);
  return { main, store, historian, others: all - main - store - historian };
}
