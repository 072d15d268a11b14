/** A network in time that nobody has to wait for: datagrams are lost, doubled, late and out of order. */
export class Network {
  now = 0;
  #events: { readonly at: number; readonly happens: () => void }[] = [];
  readonly #random: () => number;
  readonly #loss: number;
  readonly #twice: number;
  readonly #delay: number;

  constructor(random: () => number, loss: number, twice: number, delay: number) {
    this.#random = random;
    this.#loss = loss;
    this.#twice = twice;
    this.#delay = delay;
  }

  carry(deliver: () => void): void {
    const copies = this.#random() < this.#twice ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      if (this.#random() >= this.#loss) this.after(this.#random() * this.#delay, deliver);
    }
  }

  after(delay: number, happens: () => void): void {
    this.#events.push({ at: this.now + delay, happens });
  }

  /** Runs to `end`; `tick` says when the machine under test wants to be called. */
  run(end: number, due: () => number, tick: () => void): void {
    for (;;) {
      const next = this.#events.reduce((least, { at }) => Math.min(least, at), Number.POSITIVE_INFINITY);
      const at = Math.min(next, due());
      if (at > end) break;
      this.now = Math.max(this.now, at);
      if (next <= at) {
        const index = this.#events.findIndex((event) => event.at === next);
        this.#events.splice(index, 1)[0]?.happens();
      } else tick();
    }
    this.now = end;
  }
}

/** Random numbers that a seed repeats. */
export function generator(start: number): () => number {
  let seed = start;
  return (): number => {
    seed = (seed + 0x6d2b79f5) | 0;
    let x = Math.imul(seed ^ (seed >>> 15), seed | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}
