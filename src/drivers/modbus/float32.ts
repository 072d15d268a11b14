// 10^22 is the largest power of ten that a double holds exactly, so that n / 10^k is correctly rounded.
const MAX_EXACT_POWER = 22;
const POWERS = Float64Array.from({ length: MAX_EXACT_POWER + 1 }, (_, k) => Number(`1e${k}`));
/** Decimals of 6 digits always survive a float32 and 9 digits always tell two of them apart (IEEE 754, 5.12.2). */
const FEWEST_DIGITS = 6;
const MOST_DIGITS = 9;
const EXACT_INTEGERS = 2 ** 24;
// Within these magnitudes every power that is needed is exact.
const SMALLEST = 1e-13;
const LARGEST = 1e22;
const DIGITS_KEPT = 12;
const SMALLEST_TIDIED = 1e-11; // 10^22 × 10^-11 has its 12 digits before the point

/**
 * The shortest decimal that becomes this float32 again: a device that holds 230.1 is not read as 230.10000610351562.
 * `value` is a finite float32 (`Math.fround(value) === value`).
 */
export function shortestFloat32(value: number): number {
  const magnitude = value < 0 ? -value : value;
  if (magnitude <= EXACT_INTEGERS && Math.trunc(magnitude) === magnitude) return value + 0; // -0 becomes 0
  if (magnitude < SMALLEST || magnitude >= LARGEST) return shortestByText(value);
  const decimal = shortest(magnitude);
  return value < 0 ? -decimal : decimal;
}

function shortest(magnitude: number): number {
  let places = FEWEST_DIGITS - 1 - decimalExponent(magnitude);
  for (let digits = FEWEST_DIGITS; digits < MOST_DIGITS; digits++, places++) {
    const decimal = rounded(magnitude, places);
    if (Math.fround(decimal) === magnitude) return decimal;
  }
  return rounded(magnitude, places);
}

/**
 * A scaled float32 without the noise of the multiplication: 1234.6 × 0.001 is 1.2346, not 1.2345999999999999. A float32
 * tells 9 digits apart; 12 are kept.
 */
export function withoutNoise(value: number): number {
  const magnitude = value < 0 ? -value : value;
  if (magnitude < SMALLEST_TIDIED || magnitude >= LARGEST) return value;
  const decimal = rounded(magnitude, DIGITS_KEPT - 1 - decimalExponent(magnitude));
  return value < 0 ? -decimal : decimal;
}

/** To `places` digits behind the point; before it where negative. */
function rounded(magnitude: number, places: number): number {
  if (places >= 0) {
    const power = POWERS[places] ?? 1;
    return Math.round(magnitude * power) / power;
  }
  const power = POWERS[-places] ?? 1;
  return Math.round(magnitude / power) * power;
}

/** Exponent of the first digit: 2 for 230.1, -3 for 0.0042. */
function decimalExponent(magnitude: number): number {
  let exponent = 0;
  if (magnitude >= 1) {
    while (magnitude >= (POWERS[exponent + 1] ?? Infinity)) exponent++;
    return exponent;
  }
  while (magnitude * (POWERS[-exponent] ?? Infinity) < 1) exponent--;
  return exponent;
}

/** Subnormals carry fewer than six digits. */
function shortestByText(value: number): number {
  for (let digits = 1; digits < MOST_DIGITS; digits++) {
    const decimal = Number(value.toPrecision(digits));
    if (Math.fround(decimal) === value) return decimal;
  }
  return Number(value.toPrecision(MOST_DIGITS));
}
