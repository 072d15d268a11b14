import { errorText } from '../core/errors.ts';
import { readWhole, removeDurably, writeDurably } from './durable.ts';

/**
 * A file that says what is in force. What the disk does not take, this process can hold until it does: what takes away
 * waits for no disk.
 */
export class KeptFile {
  readonly path: string;
  #held: { readonly text: string; readonly why: string } | undefined;

  constructor(path: string) {
    this.path = path;
  }

  /** Undefined where it is not there; throws where it cannot be read. */
  read(): string | undefined {
    return this.#held === undefined ? readWhole(this.path) : this.#held.text;
  }

  /** On the disk when this returns. Throws where the disk does not take it: then what was before goes on. */
  write(text: string): void {
    writeDurably(this.path, text);
    this.#held = undefined;
  }

  /** In force when this returns, whatever becomes of the disk. */
  hold(text: string): void {
    try {
      this.write(text);
    } catch (error) {
      this.#held = { text, why: errorText(error) };
    }
  }

  remove(): void {
    removeDurably(this.path);
    this.#held = undefined;
  }

  /** Why only this process knows it; undefined where it is on the disk. */
  get owed(): string | undefined {
    return this.#held?.why;
  }

  /** Tries again. Throws where the disk still does not take it. */
  settle(): void {
    if (this.#held !== undefined) this.write(this.#held.text);
  }
}
