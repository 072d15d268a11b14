import type { EpochMs } from '../core/units.ts';

/** A piece of time: [from, to). */
export interface Span {
  readonly from: EpochMs;
  readonly to: EpochMs;
}

/** In time order, without overlap; those that touch are one. Empty ones are gone. */
export function joined(spans: Iterable<Span>): Span[] {
  const sorted = [...spans].filter(({ from, to }) => from < to).sort((a, b) => a.from - b.from);
  const found: Span[] = [];
  for (const span of sorted) {
    const last = found.at(-1);
    if (last === undefined || span.from > last.to) found.push(span);
    else if (span.to > last.to) found[found.length - 1] = { from: last.from, to: span.to };
  }
  return found;
}

/** The parts of the spans that lie in [from, to). */
export function within(spans: Iterable<Span>, { from, to }: Span): Span[] {
  return [...spans].flatMap((span) => {
    const begin = span.from > from ? span.from : from;
    const end = span.to < to ? span.to : to;
    return begin < end ? [{ from: begin, to: end }] : [];
  });
}

/** The parts of [from, to) that none of the spans covers. The spans are in time order and do not overlap. */
export function outside(spans: Iterable<Span>, { from, to }: Span): Span[] {
  const found: Span[] = [];
  let at = from;
  for (const span of within(spans, { from, to })) {
    if (span.from > at) found.push({ from: at, to: span.from });
    at = span.to;
  }
  if (at < to) found.push({ from: at, to });
  return found;
}

/** Does one of the spans hold this moment? The spans are in time order and do not overlap. */
export function holds(spans: readonly Span[], time: EpochMs): boolean {
  let [low, high] = [0, spans.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((spans[middle]?.to ?? 0) <= time) low = middle + 1;
    else high = middle;
  }
  return (spans[low]?.from ?? Number.POSITIVE_INFINITY) <= time;
}
