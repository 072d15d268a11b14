import { BOOLEAN, type Batch, NOTHING, NUMBER, type PointValue, TEXT, valueAt } from '../core/batch.ts';
import { BAD, GOOD } from '../core/quality.ts';

/** What a run of samples comes to, before it is merged; made once and filled again and again. */
export interface Part {
  count: number;
  good: number;
  bad: number;
  numbers: number;
  min: number;
  max: number;
  sum: number;
  /** Sum of the squared distances from the mean. */
  m2: number;
  firstTime: number;
  first: PointValue | null;
  lastTime: number;
  last: PointValue | null;
  changes: number;
}

export function emptyPart(): Part {
  return {
    count: 0,
    good: 0,
    bad: 0,
    numbers: 0,
    min: 0,
    max: 0,
    sum: 0,
    m2: 0,
    firstTime: 0,
    first: null,
    lastTime: 0,
    last: null,
    changes: 0,
  };
}

/** Rows [from, to) of one bucket, in the order of time. Two walks, because the squares are exact only around the mean. */
export function reduceRun(batch: Batch, from: number, to: number, part: Part): Part {
  part.count = to - from;
  if (isPlain(batch, from, to)) reducePlain(batch, from, to, part);
  else reduceMixed(batch, from, to, part);
  return part;
}

/** Nothing but good numbers, as nearly everywhere? */
function isPlain({ forms, qualities }: Batch, from: number, to: number): boolean {
  let other = 0;
  for (let i = from; i < to; i++) other |= ((forms[i] ?? NUMBER) ^ NUMBER) | ((qualities[i] ?? GOOD) ^ GOOD);
  return other === 0;
}
function reducePlain(batch: Batch, from: number, to: number, part: Part): void {
  const { values, times } = batch;
  const first = values[from] ?? 0;
  let [min, max, sum, changes, last] = [first, first, 0, 0, first];
  for (let i = from; i < to; i++) {
    const value = values[i] ?? 0;
    sum += value;
    if (value < min) min = value;
    else if (value > max) max = value;
    changes += value === last ? 0 : 1;
    last = value;
  }
  part.good = to - from;
  part.bad = 0;
  part.numbers = to - from;
  part.min = min;
  part.max = max;
  part.sum = sum;
  part.m2 = min < max ? squaresOfPlain(values, from, to, sum / (to - from)) : 0;
  part.first = first;
  part.last = last;
  part.firstTime = times[from] ?? 0;
  part.lastTime = times[to - 1] ?? 0;
  part.changes = changes;
}

function squaresOfPlain(values: Float64Array, from: number, to: number, mean: number): number {
  let [total, off] = [0, 0];
  for (let i = from; i < to; i++) {
    const distance = (values[i] ?? 0) - mean;
    total += distance * distance;
    off += distance;
  }
  return withoutRounding(total, off, to - from);
}

function reduceMixed(batch: Batch, from: number, to: number, part: Part): void {
  const { values, forms, qualities, texts } = batch;
  let [good, bad, numbers, changes, sum] = [0, 0, 0, 0, 0];
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  let first = -1;
  let last = -1;
  let lastForm = NOTHING;
  let lastValue = 0;
  for (let i = from; i < to; i++) {
    const quality = qualities[i] ?? BAD;
    const form = forms[i] ?? NOTHING;
    if (quality === BAD || form === NOTHING) {
      bad++;
      continue;
    }
    if (quality === GOOD) good++;
    const value = values[i] ?? 0;
    if (form === NUMBER || form === BOOLEAN) {
      numbers++;
      sum += value;
      if (value < min) min = value;
      if (value > max) max = value;
    }
    if (first < 0) first = i;
    else if (form !== lastForm || (form === TEXT ? texts[value] !== texts[lastValue] : value !== lastValue))
      changes++;
    last = i;
    lastForm = form;
    lastValue = value;
  }
  part.good = good;
  part.bad = bad;
  part.numbers = numbers;
  part.min = min;
  part.max = max;
  part.sum = sum;
  part.m2 = min < max ? squaresOfMixed(batch, from, to, sum / numbers) : 0;
  part.first = first < 0 ? null : valueAt(batch, first);
  part.last = last < 0 ? null : valueAt(batch, last);
  part.firstTime = first < 0 ? 0 : (batch.times[first] ?? 0);
  part.lastTime = last < 0 ? 0 : (batch.times[last] ?? 0);
  part.changes = changes;
}

function squaresOfMixed({ values, forms, qualities }: Batch, from: number, to: number, mean: number): number {
  let [total, off, numbers] = [0, 0, 0];
  for (let i = from; i < to; i++) {
    if (qualities[i] === BAD || (forms[i] !== NUMBER && forms[i] !== BOOLEAN)) continue;
    const distance = (values[i] ?? 0) - mean;
    total += distance * distance;
    off += distance;
    numbers++;
  }
  return withoutRounding(total, off, numbers);
}

/** The sum of squared distances from a mean that was rounded: `off` is the sum of the distances, which would be 0. */
function withoutRounding(total: number, off: number, numbers: number): number {
  return Math.max(0, total - (off * off) / numbers);
}
