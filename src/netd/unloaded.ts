import { createHash } from 'node:crypto';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { stateOf } from './bring.ts';
import { readWhole, writeDurably } from './durable.ts';
import { isObject } from './request.ts';

/**
 * `unloaded.json`: what should hold could not be loaded, and this is how the kernel was left. Whoever compares it with what
 * should hold blames nobody else for that, and tries again.
 */
export class Unloaded {
  readonly #path: string;

  constructor(folder: string) {
    this.#path = join(folder, 'unloaded.json');
  }

  /** A disk that does not take it costs a wrong word, and nothing else. */
  set(why: string, listing: string | undefined): void {
    const text = `${JSON.stringify({ why, kernel: digestOf(listing) }, undefined, 2)}\n`;
    try {
      if (this.text() !== text) writeDurably(this.#path, text);
    } catch {
      // what differs is found all the same
    }
  }

  clear(): void {
    rmSync(this.#path, { force: true });
  }

  /** Another one each time that something else could not be loaded, or for another reason. */
  text(): string | undefined {
    return readWhole(this.#path);
  }

  /** Why, where the kernel is as it was left then. */
  why(listing: string | undefined): string | undefined {
    const { why, kernel } = parsed(this.text());
    return typeof why === 'string' && kernel === digestOf(listing) ? why : undefined;
  }
}

const digestOf = (listing: string | undefined): string =>
  createHash('sha256').update(stateOf(listing)).digest('hex');

function parsed(text: string | undefined): Readonly<Record<string, unknown>> {
  try {
    const json: unknown = JSON.parse(text ?? '');
    return isObject(json) ? json : {};
  } catch {
    return {};
  }
}
