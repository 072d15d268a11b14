import type { BatchBuilder } from '../../core/batch.ts';
import type { PointName } from '../../core/point.ts';
import { type EpochMs, epochMs } from '../../core/units.ts';
import type { Outage } from '../../telemetry/sample-log.ts';
import { copyRow } from './copy-row.ts';
import type { Entry, Head } from './head.ts';
import type { LogTail } from './log-tail.ts';
import type { Segment } from './segment.ts';
import { type Newest, type RowMark, type Start, type Tail, type TailQuery, noTimes } from './tail.ts';

export interface HeadTailOptions {
  readonly head: Head;
  /** Entries that the book does not have yet. */
  readonly entries: () => readonly Entry[];
  /** Takes in what is committed now. */
  readonly refresh: () => void;
  /** What was committed and found no place in the head; undefined where everything did. */
  readonly beyond: () => LogTail | undefined;
  readonly now: () => EpochMs;
}

/** The tail of the historian's own thread: its memory, and the log itself while filing cannot keep up. */
export class HeadTail implements Tail {
  readonly #options: HeadTailOptions;

  constructor(options: HeadTailOptions) {
    this.#options = options;
  }

  get log(): number {
    return this.#options.head.log;
  }

  refresh(): void {
    this.#options.refresh();
  }

  names(): readonly PointName[] {
    return this.#options.head.catalog?.names() ?? [];
  }

  samples({ names, from, to }: TailQuery, into: BatchBuilder): readonly RowMark[] {
    const marks: RowMark[] = [];
    for (const segment of this.#options.head.segments) {
      if (segment.latest < from || segment.earliest >= to) continue;
      const at = into.count;
      copyWanted(segment, { names, from, to }, into);
      if (into.count > at) marks.push({ at, row: segment.upTo });
    }
    const { head } = this.#options;
    const rest = this.#beyond((tail) => tail.samples({ names, from, to }, into, head.row)) ?? [];
    return [...marks, ...rest];
  }

  last(names: readonly PointName[], into: BatchBuilder): Newest {
    const { head } = this.#options;
    const times = noTimes(names.length);
    const found: (readonly [Segment, number] | undefined)[] = names.map(() => undefined);
    for (const segment of head.segments) {
      const rows = newestRows(segment, names, times);
      rows.forEach((row, name) => {
        if (row >= 0) found[name] = [segment, row];
      });
    }
    found.forEach((place, name) => {
      if (place !== undefined) copyRow(place[0].batch, place[1], name, into);
    });
    const clock = head.clock.copy();
    const [first] = head.segments;
    const before = first?.ahead[0]?.ahead ?? clock.ahead;
    const beyond = this.#beyond((tail) => tail.last(names, into, { after: head.row, clock, times }));
    const since = first?.begun === undefined ? beyond?.since : epochMs(first.begun);
    return { since, times: times.map((time) => time - before) };
  }

  alive(): EpochMs {
    return this.#options.now();
  }

  starts(): readonly Start[] {
    const starts = this.#options.entries().flatMap((entry) => ('start' in entry ? entry.start : []));
    return [...starts, ...(this.#beyond((tail) => tail.starts()) ?? [])];
  }

  outages(): readonly Outage[] {
    const outages = this.#options.entries().flatMap((entry) => ('outage' in entry ? entry.outage : []));
    return [...outages, ...(this.#beyond((tail) => tail.outages()) ?? [])];
  }

  close(): void {}

  /** Where the log cannot be read the next step meets it too, and says so. The answer has what was read before. */
  #beyond<T>(look: (tail: LogTail) => T): T | undefined {
    try {
      const tail = this.#options.beyond();
      return tail === undefined ? undefined : look(tail);
    } catch {
      return undefined;
    }
  }
}

/** By series of the segment: one more than the index of its name, 0 where it was not asked for. */
function placesOf({ catalog }: Segment, names: readonly PointName[]): Uint32Array {
  const places = new Uint32Array(catalog.size + 1);
  names.forEach((name, i) => {
    const series = catalog.id(name);
    if (series !== undefined) places[series] = i + 1;
  });
  return places;
}

function copyWanted(segment: Segment, { names, from, to }: TailQuery, into: BatchBuilder): void {
  const places = placesOf(segment, names);
  const { batch } = segment;
  const { points, times, count } = batch;
  for (let i = 0; i < count; i++) {
    const place = places[points[i] ?? 0] ?? 0;
    if (place === 0) continue;
    const time = times[i] ?? 0;
    if (time >= from && time < to) copyRow(batch, i, place - 1, into);
  }
}

/** By name the row of its newest sample, where that is not older than what is in `newest`; -1 elsewhere. */
function newestRows(segment: Segment, names: readonly PointName[], newest: Float64Array): Int32Array {
  const places = placesOf(segment, names);
  const rows = new Int32Array(names.length).fill(-1);
  const { points, times, count } = segment.batch;
  const steps = segment.ahead.values();
  let [ahead, next] = [0, steps.next()];
  for (let i = 0; i < count; i++) {
    for (; next.done !== true && next.value.at <= i; next = steps.next()) ahead = next.value.ahead;
    const place = places[points[i] ?? 0] ?? 0;
    if (place === 0) continue;
    const time = (times[i] ?? 0) + ahead;
    if (time < (newest[place - 1] ?? 0)) continue;
    newest[place - 1] = time;
    rows[place - 1] = i;
  }
  return rows;
}
