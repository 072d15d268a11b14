import { type Duration, minutes, seconds } from '../core/units.ts';
import { Bucket } from './bucket.ts';
import { sinceBoot } from './monotonic.ts';
import { isRead, type Verb } from './request.ts';

// The audit keeps some tens of thousands of records: whoever may ask, also a gateway that somebody took over, must not be
// able to write so many that older ones are given up within hours.

/** Of one user and verb: reading is not written down more often. */
const READ_NOTED: Duration = minutes(1);
/** Of what was refused, or failed before anything was changed. */
const IDLE_AT_ONCE = 20;
const IDLE_EACH: Duration = seconds(10);
/** As many as the kernel holds in quarantine: each is written down, even of a whole plant. */
const DEEDS_AT_ONCE = 1_024;
/** Two records of some 600 bytes: the nine files of the audit last for days, whatever is done all the time. */
const DEEDS_EACH: Duration = seconds(10);

/** What of requests is written down. What is left out is counted, and told with the next that is not. */
export class AuditRation {
  readonly #idle = new Bucket(IDLE_AT_ONCE, IDLE_EACH);
  /** Of each user who may ask: one does not use up what another has. */
  readonly #deeds = new Map<number, Bucket>();
  readonly #reads = new Map<string, Duration>();
  #untold = 0;

  /** Is this one left out? Of what changes something that is known only when it does: see `deed`. */
  leavesOut(verb: Verb, uid: number): boolean {
    if (!isRead(verb)) return false;
    const key = `${uid} ${verb}`;
    const now = sinceBoot();
    const last = this.#reads.get(key);
    if (last !== undefined && now - last < READ_NOTED) return true;
    this.#reads.set(key, now);
    return false;
  }

  /** Something is about to be changed: what to add to its record, or undefined where it is left out. */
  deed(uid: number): string | undefined {
    const bucket = this.#deeds.get(uid) ?? new Bucket(DEEDS_AT_ONCE, DEEDS_EACH);
    this.#deeds.set(uid, bucket);
    return this.#from(bucket);
  }

  /** The same for what was refused, or failed and changed nothing. */
  idle(): string | undefined {
    return this.#from(this.#idle);
  }

  #from(bucket: Bucket): string | undefined {
    if (!bucket.take()) {
      this.#untold += 1;
      return undefined;
    }
    const before = this.#untold;
    this.#untold = 0;
    // In front of the rest, which may be long and is cut.
    return before === 0 ? '' : `(and ${before} more before that are not written down) `;
  }
}
