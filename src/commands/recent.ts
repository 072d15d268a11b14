/** QoS 1 repeats a message within its session; this many commands between a message and its repetition are covered. */
export const IDS_PER_ASKER = 256;
/** Each has a certificate of the local CA or comes through the upstream; the one that was silent longest is forgotten. */
export const ASKERS = 64;

/** What was asked lately under which id, per asker, so that no asker can push out what another one asked. */
export class Recent<T> {
  readonly #askers = new Map<string, Map<string, T>>();

  find(by: string, id: string): T | undefined {
    return this.#askers.get(by)?.get(id);
  }

  remember(by: string, id: string, what: T): void {
    const own = this.#askers.get(by) ?? new Map<string, T>();
    // A map keeps the order of insertion: taken out and put in again, it is the newest.
    this.#askers.delete(by);
    this.#askers.set(by, own);
    own.delete(id);
    own.set(id, what);
    dropOldest(own, IDS_PER_ASKER);
    dropOldest(this.#askers, ASKERS);
  }
}

function dropOldest<T>(map: Map<string, T>, most: number): void {
  if (map.size <= most) return;
  const oldest = map.keys().next();
  if (oldest.done !== true) map.delete(oldest.value);
}
