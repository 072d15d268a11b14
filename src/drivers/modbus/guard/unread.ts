interface Piece {
  readonly bytes: Buffer;
  readonly since: number;
}

/** Bytes that a connection sent and that nobody has looked at yet, with the time since when they may have been there. */
export class Unread {
  readonly #pieces: Piece[] = [];
  #length = 0;

  get length(): number {
    return this.#length;
  }

  add(bytes: Buffer, since: number): void {
    this.#pieces.push({ bytes, since });
    this.#length += bytes.length;
  }

  /** The next bytes that came together, `most` of them. */
  take(most: number): Piece | undefined {
    const first = this.#pieces[0];
    if (first === undefined) return undefined;
    const bytes = first.bytes.subarray(0, most);
    if (bytes.length === first.bytes.length) this.#pieces.shift();
    else this.#pieces[0] = { bytes: first.bytes.subarray(most), since: first.since };
    this.#length -= bytes.length;
    return { bytes, since: first.since };
  }
}
