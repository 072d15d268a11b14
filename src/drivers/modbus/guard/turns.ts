/** A connection that may have something waiting, and whose it is. */
export interface Asker {
  readonly address: string;
}

interface Waiting {
  readonly since: number;
}

/**
 * What waits for one device. Addresses take turns, and so do the connections of one address: whoever asks most waits
 * for itself, and everybody else for one turn of each other address. Askers give it no more than they may have pending.
 */
export class Turns<T extends Waiting> {
  /** Whoever is first is next; each connection's own in the order in which they came. */
  readonly #addresses = new Map<string, Map<Asker, T[]>>();

  get isEmpty(): boolean {
    return this.#addresses.size === 0;
  }

  add(asker: Asker, item: T): void {
    const connections = this.#addresses.get(asker.address) ?? new Map<Asker, T[]>();
    const items = connections.get(asker) ?? [];
    items.push(item);
    connections.set(asker, items);
    this.#addresses.set(asker.address, connections);
  }

  /** What is next; its address and its connection stand behind all others from now on. */
  take(): T | undefined {
    const [first] = this.#addresses;
    if (first === undefined) return undefined;
    const [address, connections] = first;
    this.#addresses.delete(address);
    for (const [asker, items] of connections) {
      const item = items.shift();
      connections.delete(asker);
      if (items.length > 0) connections.set(asker, items);
      if (connections.size > 0) this.#addresses.set(address, connections);
      return item;
    }
    return undefined;
  }

  /** Takes out, for all, what waits since before `moment`. */
  takeOlderThan(moment: number): T[] {
    const taken: T[] = [];
    for (const connections of this.#addresses.values()) {
      for (const [asker, items] of connections) {
        const fresh = items.findIndex(({ since }) => since >= moment);
        taken.push(...items.splice(0, fresh < 0 ? items.length : fresh));
        if (items.length === 0) this.#drop(asker, connections);
      }
    }
    return taken;
  }

  /** Nobody is there any more for what this connection asked. */
  leave(asker: Asker): void {
    const connections = this.#addresses.get(asker.address);
    if (connections !== undefined) this.#drop(asker, connections);
  }

  #drop(asker: Asker, connections: Map<Asker, T[]>): void {
    connections.delete(asker);
    if (connections.size === 0) this.#addresses.delete(asker.address);
  }
}
