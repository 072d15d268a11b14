import type { PointName } from '../../core/point.ts';
import { type EpochMs, epochMs } from '../../core/units.ts';
import type { Span } from '../../telemetry/spans.ts';
import type { Book } from './book.ts';
import type { Handles } from './handles.ts';
import { RawSource } from './raw-source.ts';
import { RollupSource } from './rollup-source.ts';
import { TailSamples } from './tail-samples.ts';
import type { Tail } from './tail.ts';

/** The part of the book that answers are made of. */
export type Chronicle = Pick<Book, 'floor' | 'runs' | 'outages' | 'drops' | 'period'>;

export interface QueryOptions extends Span {
  readonly folder: string;
  readonly handles: Handles;
  readonly tail: Tail;
  readonly floor: EpochMs | undefined;
  readonly names: readonly PointName[];
}

/** Where the answer to one question comes from: the tail as it is now, then the files. */
export class Query {
  readonly names: readonly PointName[];
  readonly tail: TailSamples;
  readonly raw: RawSource;
  readonly rollups: RollupSource;
  readonly #options: QueryOptions;
  readonly #gone: number;

  constructor(options: QueryOptions) {
    const { folder, handles, tail, floor, names, from, to } = options;
    this.#options = options;
    this.#gone = handles.gone;
    this.names = names;
    tail.refresh();
    this.tail = new TailSamples(tail, { names, from, to });
    const sources = { folder, handles, names, tail: this.tail, log: tail.log };
    this.raw = new RawSource({ ...sources, floor: floor ?? epochMs(0) });
    this.rollups = new RollupSource({
      ...sources,
      isLate: (time) => !this.raw.takes(time),
      isTaken: (time) => this.raw.appeared(time),
    });
  }

  /** A file was given up since the question was asked, and what is said from now on may lack what was in it: ask again. */
  get isOver(): boolean {
    return this.#options.handles.gone !== this.#gone;
  }

  /** Hours of a span that are not rolled up as raw samples are now. */
  dirty({ from, to }: Span): Set<EpochMs> {
    const { handles } = this.#options;
    const hours = new Set([...this.tail.hours(from, to)].filter((hour) => this.raw.takes(hour)));
    for (const day of this.raw.days(from, to))
      for (const at of this.raw.parts(day))
        for (const { hour } of handles.raw(at, (file) => file.unrolled()) ?? []) hours.add(hour);
    return hours;
  }
}
