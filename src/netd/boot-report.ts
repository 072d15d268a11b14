import { readFileSync, renameSync } from 'node:fs';
import { bootId } from './monotonic.ts';
import { isObject } from './request.ts';

/** What the script said that loads rules when the machine starts, or when its unit is started again. */
export interface Reported {
  readonly outcome: string;
  readonly says: string;
  /** Did it load what was confirmed, or was there nothing to load? */
  readonly isGood: boolean;
}

/** Its file, until somebody was told. */
export class BootReport {
  readonly #file: string;
  /** What the disk keeps under the same name is not told again by this process. */
  #told: string | undefined;

  constructor(file: string) {
    this.#file = file;
  }

  /** Undefined where nothing new was said since the machine was started. */
  read(): Reported | undefined {
    try {
      const text = readFileSync(this.#file, 'utf8');
      if (text === this.#told) return undefined;
      const json: unknown = JSON.parse(text);
      if (!isObject(json)) return undefined;
      const { outcome, says, boot } = json;
      if (typeof outcome !== 'string' || typeof says !== 'string' || boot !== bootId()) return undefined;
      return { outcome, says, isGood: outcome === 'confirmed' || outcome === 'none' };
    } catch {
      return undefined;
    }
  }

  /** Where it cannot be called so, another netd tells it again. */
  told(): void {
    try {
      this.#told = readFileSync(this.#file, 'utf8');
      renameSync(this.#file, `${this.#file}.told`);
      this.#told = undefined;
    } catch {
      // It is gone, or stays and is known.
    }
  }
}
