/** One timer for whatever is due first. */
export class Alarm {
  readonly #ring: () => void;
  #timer: NodeJS.Timeout | undefined;
  #due = Number.POSITIVE_INFINITY;

  constructor(ring: () => void) {
    this.#ring = ring;
  }

  /** Is it set? */
  get set(): boolean {
    return this.#timer !== undefined;
  }

  /** Rings in so long, or sooner where it is set to. */
  within(milliseconds: number): void {
    const due = performance.now() + milliseconds;
    if (due >= this.#due) return;
    clearTimeout(this.#timer);
    this.#due = due;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#due = Number.POSITIVE_INFINITY;
      this.#ring();
    }, milliseconds);
  }

  /** Rings in so long, whatever it was set to. */
  after(milliseconds: number): void {
    if (this.#due === Number.NEGATIVE_INFINITY) return;
    this.#due = Number.POSITIVE_INFINITY;
    this.within(milliseconds);
  }

  /** Never rings again. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#due = Number.NEGATIVE_INFINITY;
  }
}
