import type { Tier } from '../../core/history.ts';
import { type EpochMs, days, epochMs, hours } from '../../core/units.ts';
import { type ChartPlan, type Floors, TIERS } from '../../telemetry/chart-plan.ts';
import { type Span, holds, joined, outside, within } from '../../telemetry/spans.ts';
import type { DroppedFile } from './book.ts';
import type { Unreadable } from './handles.ts';

const HOUR = hours(1);
const DAY = days(1);

/** A piece of a chart, and the tier that it is made of. */
export interface Segment extends Span {
  readonly source: Tier;
  /** Some of the raw samples of this time cannot be read: what is rolled up of it may have more. */
  readonly isPartial?: boolean;
}

export interface CoverageOptions extends Span {
  /** Raw is complete from here on; undefined where nothing was given up yet. */
  readonly floor: EpochMs | undefined;
  readonly drops: readonly DroppedFile[];
  readonly unreadable: readonly Unreadable[];
  /** UTC days that have raw files. */
  readonly rawDays: Iterable<EpochMs>;
}

/** What is gone of a span of time, by tier. */
export class Coverage {
  readonly #lost: Readonly<Record<Tier, readonly Span[]>>;
  /** Raw that was given up, and not only cannot be read. */
  readonly #given: readonly Span[];

  constructor(options: CoverageOptions) {
    const given = (tier: Tier): Span[] => options.drops.filter((drop) => drop.tier === tier).map(spanOfDrop);
    const lost = (tier: Tier): Span[] => [
      ...given(tier),
      ...options.unreadable.filter(({ at }) => at.tier === tier),
    ];
    const whole = { from: options.from, to: options.to };
    const below = belowFloor(options);
    const raw = joined([...lost('raw'), ...below]);
    this.#given = joined([...given('raw'), ...below]);
    this.#lost = {
      raw: within(raw, whole),
      minute: within(joined(lost('minute')), whole),
      hour: within(joined(lost('hour')), whole),
    };
  }

  /** From when on each tier has everything of the span. */
  get floors(): Floors {
    const floor = (tier: Tier): EpochMs => this.#lost[tier].at(-1)?.to ?? epochMs(0);
    return { raw: floor('raw'), minute: floor('minute'), hour: floor('hour') };
  }

  lost(tier: Tier): readonly Span[] {
    return this.#lost[tier];
  }

  isLost(tier: Tier, time: EpochMs): boolean {
    return holds(this.#lost[tier], time);
  }

  /** The finest tier that has everything of this moment. */
  finest(time: EpochMs): Tier | undefined {
    return TIERS.find((tier) => !this.isLost(tier, time));
  }

  /**
   * What the chart is made of, piece by piece: its own tier, raw samples in hours that are not rolled up as they are
   * now (`dirty`), and finer tiers where its own is gone.
   */
  segments(plan: ChartPlan, dirty: Iterable<EpochMs>): Segment[] {
    if (plan.tier === 'raw') return [{ from: plan.from, to: plan.to, source: 'raw' }];
    const changed = joined([...dirty].map((hour) => ({ from: hour, to: epochMs(hour + HOUR) })));
    const borders = [changed, ...TIERS.map((tier) => this.#lost[tier])]
      .flat()
      .flatMap(({ from, to }) => [from, to])
      .filter((time) => time > plan.from && time < plan.to);
    const segments: Segment[] = [];
    let from = plan.from;
    for (const to of [...new Set(borders), plan.to].sort((a, b) => a - b)) {
      const isDirty = holds(changed, from);
      const source = this.#source(plan.tier, from, isDirty);
      const isPartial = source === 'raw' && isDirty && this.isLost('raw', from);
      const last = segments.at(-1);
      if (last?.source === source && (last.isPartial ?? false) === isPartial)
        segments[segments.length - 1] = { ...last, to };
      else segments.push({ from, to, source, ...(isPartial ? { isPartial } : {}) });
      from = to;
    }
    return segments;
  }

  #source(tier: Tier, time: EpochMs, isDirty: boolean): Tier {
    // Of a day in parts, one that cannot be read takes nothing from the others.
    if (isDirty && !holds(this.#given, time)) return 'raw';
    const finer = TIERS.slice(0, TIERS.indexOf(tier) + 1);
    return finer.findLast((candidate) => !this.isLost(candidate, time)) ?? tier;
  }
}

/** What came into a file's time after the file was given up is in another one. */
function spanOfDrop({ from, to, time }: DroppedFile): Span {
  const given = Math.ceil(time / HOUR) * HOUR;
  return { from, to: given > from && given < to ? epochMs(given) : to };
}

/** Days before the floor have raw samples only where a file of them is there. */
function belowFloor({ floor, rawDays, from, to }: CoverageOptions): Span[] {
  if (floor === undefined || floor <= from) return [];
  const there = joined([...rawDays].map((day) => ({ from: day, to: epochMs(day + DAY) })));
  return outside(there, { from, to: floor < to ? floor : to });
}
