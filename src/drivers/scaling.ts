/** value = (raw × factor + shift) / divisor. Whole numbers wherever the decimals of the configuration allow it. */
export interface Scaling {
  readonly factor: number;
  readonly shift: number;
  readonly divisor: number;
}

/** What `scalingOf` gives for scale 1 and offset 0: the raw value as it is. */
export const UNSCALED: Scaling = { factor: 1, shift: 0, divisor: 1 };

const MOST_DECIMALS = 12; // 10^12 × a 16 bit raw value is still a whole number in a double

/**
 * raw × 0.1 is 0.30000000000000004 for raw 3; 3 / 10 is 0.3. So scale and offset become whole numbers over one
 * divisor: a power of ten, or 1/scale where that is whole. A scale that is neither is multiplied as it is.
 */
export function scalingOf(scale: number, offset: number): Scaling {
  if (scale === 1 && offset === 0) return UNSCALED;
  for (let decimals = 0, divisor = 1; decimals <= MOST_DECIMALS; decimals++, divisor *= 10) {
    const exact = over(scale, offset, divisor);
    if (exact !== undefined) return exact;
  }
  return over(scale, offset, Math.round(1 / scale)) ?? { factor: scale, shift: offset, divisor: 1 };
}

function over(scale: number, offset: number, divisor: number): Scaling | undefined {
  const factor = Math.round(scale * divisor);
  const shift = Math.round(offset * divisor);
  const exact =
    factor / divisor === scale &&
    shift / divisor === offset &&
    Number.isSafeInteger(factor) &&
    Number.isSafeInteger(shift);
  return exact ? { factor, shift, divisor } : undefined;
}

export function scaled(raw: number, { factor, shift, divisor }: Scaling): number {
  return (raw * factor + shift) / divisor;
}

/** The raw value, not rounded; `scaled` of it need not give `value` again. */
export function unscaled(value: number, { factor, shift, divisor }: Scaling): number {
  return (value * divisor - shift) / factor;
}
