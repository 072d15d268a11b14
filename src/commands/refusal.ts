/**
 * Why a command was not carried out. A closed list: the keys are counters, and each refusal says the rest in plain
 * words.
 */
export const REFUSALS = [
  'retained', // a retained message would be carried out again at every connection
  'too large',
  'malformed', // no JSON, or not the object of DESIGN 5.3
  'unknown device',
  'unknown point',
  'not writable',
  'wrong type', // a text for a number, a number for a switch
  'out of range', // the wire cannot hold it
  'outside limits', // min and max of the configuration
  'expired',
  'id reused', // the same id for another command
  'too often', // more writes than a device takes
  'busy', // too many commands are waiting
  'stopping', // the gateway ends
] as const;
export type RefusalKey = (typeof REFUSALS)[number];

/** What went wrong after the decision to carry a command out. The device may have been written to. */
export const FAILURES = [
  'not written', // the device refused, or did not answer
  'not read back',
  'differs', // the device holds another value than the one that was written
] as const;
export type FailureKey = (typeof FAILURES)[number];

export interface Refusal {
  readonly allowed: false;
  readonly key: RefusalKey;
  /** A sentence for the asker: what was found, and what would be right. */
  readonly because: string;
}

export type Decision = { readonly allowed: true } | Refusal;

export function refusal(key: RefusalKey, because: string): Refusal {
  return { allowed: false, key, because };
}
