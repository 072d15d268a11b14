import type { Duration } from '../core/units.ts';

/** Who asks for a change, as far as it matters here. */
export interface Actor {
  /** When their connection to netd was opened, by the clock that nobody can set. */
  readonly opened?: Duration;
  /** The connection by which they came to this machine, where known. */
  readonly session?: string | undefined;
  /** Told what is about to be done, under the lock; where it throws, nothing is done. */
  readonly intend?: (what: Intended) => Promise<void>;
  /** Told that what goes on may take minutes, and holds nobody up. */
  readonly aside?: () => void;
}

export interface Intended {
  readonly change?: string;
  /** Digest of the rules. */
  readonly rules?: string;
  readonly device?: string;
  readonly detail?: string;
}
