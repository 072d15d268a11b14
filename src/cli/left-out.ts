import { relative } from 'node:path';
import { errorText } from '../core/errors.ts';
import type { Tier } from '../core/history.ts';
import { visible } from '../core/visible.ts';
import { TIERS, fileOf } from '../store/history/files.ts';
import type { Span } from '../telemetry/spans.ts';

/** A file below `gateway.data` that could not be read, or not all of it. */
export interface Missing {
  readonly name: string;
  readonly why: string;
}

/** What an answer about the past lacks, because it could not be read. An answer that lacks something is no success. */
export class LeftOut {
  readonly #folder: string;
  readonly #found = new Map<string, string>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  readonly take = (path: string, error: unknown): void => {
    if (!this.#found.has(path)) this.#found.set(path, errorText(error));
  };

  /** Of a time, where one is given, and of these tiers; telemetry.db and history.db may have something of any. */
  list(span?: Span, tiers: readonly Tier[] = TIERS): Missing[] {
    return [...this.#found]
      .filter(([path]) => {
        const file = fileOf(path);
        if (file === undefined) return true;
        return (
          tiers.includes(file.tier) && (span === undefined || (file.from < span.to && file.to > span.from))
        );
      })
      .map(([path, why]) => ({ name: relative(this.#folder, path), why }));
  }
}

/** On standard error, one line each. */
export function tellMissing(missing: readonly Missing[]): void {
  for (const { name, why } of missing)
    process.stderr.write(
      `sluice: ${visible(`${name} cannot be read, or not all of it, and what is missing is left out: ${why}`)}\n`,
    );
}
