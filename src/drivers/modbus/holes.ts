import type { ModbusPoint } from './plan.ts';

/** Some neighbouring points of a read that found a hole, by their place in it. */
export interface Part {
  readonly first: number;
  /** Behind the last. */
  readonly end: number;
  /** untried: nobody knows; fine: was read; illegal: one point that the device does not have. */
  readonly state: 'untried' | 'fine' | 'illegal';
  /** Exception code that an illegal point was answered with; of an untried part, the read that it is a part of. */
  readonly exception: number;
  /** When an illegal point is asked for again; in milliseconds of `Clock.elapsed`. */
  readonly retryAt: number;
}

/** Everything in one part. */
export function wholePart(points: readonly ModbusPoint[]): Part {
  return { first: 0, end: points.length, state: 'untried', exception: 0, retryAt: 0 };
}

/** Two halves of a part that was answered with `exception`; their points stay in the order of their addresses. */
export function halves(part: Part, exception: number): readonly [Part, Part] {
  const middle = (part.first + part.end) >> 1;
  return [
    { ...part, end: middle, state: 'untried', exception },
    { ...part, first: middle, state: 'untried', exception },
  ];
}

/** Neighbours that are fine become one read again; the hole between two parts keeps them apart. */
export function joined(parts: readonly Part[]): readonly Part[] {
  const result: Part[] = [];
  for (const part of parts) {
    const last = result.at(-1);
    if (last?.state === 'fine' && part.state === 'fine')
      result[result.length - 1] = { ...last, end: part.end };
    else result.push(part);
  }
  return result;
}
