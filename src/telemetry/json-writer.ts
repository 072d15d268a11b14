const INITIAL_BYTES = 65_536;
/** More than a number, brackets and commas take. */
const ROOM = 64;

const COMMA = 44;
const MINUS = 45;
const POINT = 46;
const ZERO = 48;
const OPEN = 91;
const CLOSE = 93;

const TRUE = Buffer.from('true');
const FALSE = Buffer.from('false');
const NULL = Buffer.from('null');

/** Integers of 15 digits and these powers are exact in a double, so that their quotient is correctly rounded. */
const MOST_PLACES = 15;
const MOST_DIGITS = 1e15;
const POWERS = Float64Array.from({ length: MOST_PLACES + 1 }, (_, k) => Number(`1e${k}`));

/**
 * Writes JSON into bytes that are used again and again. Numbers are what it is for: a decimal of a device takes a
 * tenth of the time that a text of the language takes, and becomes the same double when it is read.
 */
export class JsonWriter {
  #bytes = Buffer.allocUnsafe(INITIAL_BYTES);
  #length = 0;
  // A series mostly keeps its decimals, and often its value.
  #places = 1;
  #last = Number.NaN;
  #lastAt = 0;
  #lastLength = 0;

  get length(): number {
    return this.#length;
  }

  clear(): void {
    this.#length = 0;
    this.#last = Number.NaN;
  }

  /** A copy of everything written since `clear`. */
  taken(): Buffer {
    return Buffer.from(this.#bytes.subarray(0, this.#length));
  }

  open(): void {
    this.#byte(OPEN);
  }

  close(): void {
    this.#byte(CLOSE);
  }

  comma(): void {
    this.#byte(COMMA);
  }

  /** Text that is JSON already. */
  json(text: string): void {
    const most = text.length * 3;
    this.#reserve(most + ROOM);
    this.#length += this.#bytes.write(text, this.#length, 'utf8');
  }

  boolean(value: boolean): void {
    this.#literal(value ? TRUE : FALSE);
  }

  null(): void {
    this.#literal(NULL);
  }

  /** A finite number; reading it gives the same double, a negative zero too. */
  number(value: number): void {
    this.#reserve(ROOM);
    if (value === this.#last && value !== 0) {
      this.#again();
      return;
    }
    const from = this.#length;
    const integer = value | 0;
    if (integer === value && (integer !== 0 || 1 / value > 0)) this.#integer(integer);
    else this.#decimal(value);
    this.#last = value;
    this.#lastAt = from;
    this.#lastLength = this.#length - from;
  }

  #literal(text: Uint8Array): void {
    this.#reserve(ROOM);
    const bytes = this.#bytes;
    const from = this.#length;
    for (let i = 0; i < text.length; i++) bytes[from + i] = text[i] ?? 0;
    this.#length = from + text.length;
  }

  #again(): void {
    const bytes = this.#bytes;
    const from = this.#lastAt;
    const to = this.#length;
    for (let i = 0; i < this.#lastLength; i++) bytes[to + i] = bytes[from + i] ?? 0;
    this.#lastAt = to;
    this.#length = to + this.#lastLength;
  }

  #integer(value: number): void {
    if (value < 0) {
      this.#bytes[this.#length++] = MINUS;
      // The most negative one has no positive counterpart in 32 bits.
      this.#digits(-value, digitsOf(-value));
    } else {
      this.#digits(value, digitsOf(value));
    }
  }

  #decimal(value: number): void {
    const magnitude = Math.abs(value);
    const places = placesOf(magnitude, this.#places);
    if (places < 0 || value === 0) {
      const text = value === 0 ? '-0' : `${value}`; // a zero that comes here is the negative one
      this.#length += this.#bytes.write(text, this.#length, 'latin1');
      return;
    }
    if (value < 0) this.#bytes[this.#length++] = MINUS;
    const power = POWERS[places] ?? 1;
    const scaled = Math.round(magnitude * power);
    const whole = Math.floor(scaled / power);
    this.#digits(whole, digitsOf(whole));
    if (places === 0) return;
    this.#places = places;
    this.#bytes[this.#length++] = POINT;
    this.#digits(scaled - whole * power, places);
  }

  /** With leading zeros up to `count` digits. */
  #digits(value: number, count: number): void {
    const bytes = this.#bytes;
    const from = this.#length;
    let at = from + count;
    this.#length = at;
    let rest = value;
    while (rest > 0x7fff_ffff) {
      const tenth = Math.floor(rest / 10);
      bytes[--at] = ZERO + (rest - tenth * 10);
      rest = tenth;
    }
    let small = rest | 0;
    while (at > from) {
      const tenth = (small / 10) | 0;
      bytes[--at] = ZERO + (small - tenth * 10);
      small = tenth;
    }
  }

  #byte(byte: number): void {
    this.#reserve(1);
    this.#bytes[this.#length++] = byte;
  }

  #reserve(more: number): void {
    if (this.#length + more <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.#length + more));
    larger.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = larger;
  }
}

function digitsOf(value: number): number {
  if (value < 10) return 1;
  if (value < 100) return 2;
  if (value < 1_000) return 3;
  let count = 4;
  for (let limit = 10_000; value >= limit; limit *= 10) count++;
  return count;
}

/** The fewest decimal places that give this double exactly; -1 where it is no short decimal. */
function placesOf(magnitude: number, guess: number): number {
  if (isExact(magnitude, guess)) {
    let places = guess;
    while (places > 0 && isExact(magnitude, places - 1)) places--;
    return places;
  }
  for (let places = 0; places <= MOST_PLACES; places++) if (isExact(magnitude, places)) return places;
  return -1;
}

function isExact(magnitude: number, places: number): boolean {
  const power = POWERS[places] ?? 1;
  const scaled = Math.round(magnitude * power);
  return scaled < MOST_DIGITS && scaled / power === magnitude;
}
