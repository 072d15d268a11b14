import type { StoredRow, Wanted } from './journal.ts';
import type { Range } from './ranges.ts';
import { TELEMETRY } from './schema.ts';

const MAX_BYTES = 8_388_608;

/** The newest rows as text, so that live delivery reads and inflates nothing. */
export class RecentRows {
  #rows: StoredRow[] = [];
  #bytes = 0;

  add(rows: readonly StoredRow[]): void {
    for (const row of rows) {
      this.#rows.push(row);
      this.#bytes += row.text.length;
    }
    let old = 0;
    for (; this.#bytes > MAX_BYTES && old < this.#rows.length; old++)
      this.#bytes -= this.#rows[old]?.text.length ?? 0;
    if (old > 0) this.#rows = this.#rows.slice(old);
  }

  clear(): void {
    this.#rows = [];
    this.#bytes = 0;
  }

  /** Rows of the range until they take `limit` bytes; undefined where some of the range are older than what is here. */
  read([after, upto]: Range, limit: number, wanted: Wanted): StoredRow[] | undefined {
    const first = this.#rows[0];
    if (first === undefined || first.id > after + 1) return undefined;
    const found: StoredRow[] = [];
    let bytes = 0;
    for (let i = this.#firstAbove(after); i < this.#rows.length; i++) {
      const row = this.#rows[i];
      if (row === undefined || row.id > upto) break;
      if (wanted !== 'all' && (row.kind === TELEMETRY) !== (wanted === 'telemetry')) continue;
      found.push(row);
      bytes += row.text.length;
      if (bytes >= limit) break;
    }
    return found;
  }

  #firstAbove(id: number): number {
    let [low, high] = [0, this.#rows.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#rows[middle]?.id ?? 0) <= id) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
