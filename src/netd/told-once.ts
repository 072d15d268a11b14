import { setTimeout as pause } from 'node:timers/promises';
import { errorText } from '../core/errors.ts';
import { type Duration, seconds } from '../core/units.ts';

/** What netd looks at by itself costs a few stats where nothing is due. */
const GLANCE: Duration = seconds(1);

/** Why something fails that is tried for ever: told when it begins, and when the reason is another one. */
export class ToldOnce {
  readonly #tell: (why: string) => void;
  #last = '';

  constructor(tell: (why: string) => void) {
    this.#tell = tell;
  }

  /** It worked. */
  over(): void {
    this.#last = '';
  }

  failed(error: unknown): void {
    const why = errorText(error);
    if (why !== this.#last) this.#tell(why);
    this.#last = why;
  }
}

/** Looks every second until it is told to stop, whatever comes of it. */
export async function glances(look: () => Promise<void>, told: ToldOnce, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      await look();
      told.over();
    } catch (error) {
      told.failed(error);
    }
    await pause(GLANCE, undefined, { signal }).catch(() => {});
  }
}
