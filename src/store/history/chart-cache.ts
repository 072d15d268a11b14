import { type Bytes, mebibytes } from '../../core/units.ts';
import type { Buckets } from '../../telemetry/chart.ts';

/** A year of a series, a thousand pixels wide, takes 80 KiB, and so does a day of minutes: a hundred of both. */
export const CHART_CACHE_BYTES = mebibytes(16);
/** Of a bucket, and of an entry without any. */
const BUCKET_BYTES = 14 * 8;
const ENTRY_BYTES = 1_024;
const TEXT_BYTES = 128;

/** What it was reduced from: an open file, and the state that it was in. */
export interface Origin {
  readonly file: object;
  readonly version: number;
}

interface Entry extends Origin {
  readonly buckets: Buckets;
  readonly bytes: number;
}

/**
 * Files of rollups reduced to charts, series by series and step by step: whoever looks at a chart looks at it again, and
 * most files never change. The latest used ones are kept.
 */
export class ChartCache {
  readonly #limit: Bytes;
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;

  constructor(limit: Bytes = CHART_CACHE_BYTES) {
    this.#limit = limit;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Undefined where it is not there, or was made from another state of the file. */
  get(key: string, { file, version }: Origin): Buckets | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    this.#remove(key, entry);
    if (entry.file !== file || entry.version !== version) return undefined;
    this.#add(key, entry); // the map is in the order of use
    return entry.buckets;
  }

  set(key: string, { file, version }: Origin, buckets: Buckets): void {
    const known = this.#entries.get(key);
    if (known !== undefined) this.#remove(key, known);
    this.#add(key, { file, version, buckets, bytes: sizeOf(buckets) });
    for (const [oldest, entry] of this.#entries) {
      if (this.#bytes <= this.#limit) return;
      this.#remove(oldest, entry);
    }
  }

  clear(): void {
    this.#entries.clear();
    this.#bytes = 0;
  }

  #add(key: string, entry: Entry): void {
    this.#entries.set(key, entry);
    this.#bytes += entry.bytes;
  }

  #remove(key: string, entry: Entry): void {
    this.#entries.delete(key);
    this.#bytes -= entry.bytes;
  }
}

function sizeOf({ columns, texts }: Buckets): number {
  let bytes = ENTRY_BYTES + columns.starts.length * BUCKET_BYTES;
  for (const [first, last] of texts.values()) bytes += TEXT_BYTES + 2 * (first.length + last.length);
  return bytes;
}
