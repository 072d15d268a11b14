const QUOTE = 34;
const COMMA = 44;
const MINUS = 45;
const POINT = 46;
const ZERO = 48;
const NINE = 57;
const OPEN = 91;
const BACKSLASH = 92;
const CLOSE = 93;
const LETTER_F = 102;
const LETTER_N = 110;
const LETTER_T = 116;
const TRUE = Buffer.from('true');
const FALSE = Buffer.from('false');
const NULL = Buffer.from('null');

/** Integers of 15 digits and these powers are exact in a double, so that their quotient is correctly rounded. */
const MOST_DIGITS = 15;
const POWERS = Float64Array.from({ length: MOST_DIGITS + 1 }, (_, k) => Number(`1e${k}`));
const NUMBER_TEXT = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

const ONE = new Float64Array(1);

/** Reads the JSON that `JsonWriter` writes, without white space, straight from its bytes. Throws where it is something else. */
export class JsonReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  get atEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  /** Is the next value a number? */
  get isNumber(): boolean {
    return isNumberAt(this.#bytes, this.#at);
  }

  open(): boolean {
    return this.#took(OPEN);
  }

  close(): boolean {
    return this.#took(CLOSE);
  }

  comma(): boolean {
    return this.#took(COMMA);
  }

  number(): number {
    this.numbers(ONE);
    return ONE[0] ?? 0;
  }

  /**
   * At least one number and those that follow it, each behind a comma, as many as there is room for. Returns how many;
   * what comes next is a comma or a bracket.
   */
  numbers(into: Float64Array): number {
    const bytes = this.#bytes;
    const room = into.length;
    let at = this.#at;
    for (let count = 0; ; at++) {
      const from = at;
      let byte = bytes[at] ?? 0;
      const negative = byte === MINUS;
      if (negative) byte = bytes[++at] ?? 0;
      const first = at;
      const leading = byte;
      let digits = 0;
      while (byte >= ZERO && byte <= NINE) {
        digits = digits * 10 + (byte - ZERO);
        byte = bytes[++at] ?? 0;
      }
      const whole = at - first;
      let places = 0;
      if (byte === POINT) {
        byte = bytes[++at] ?? 0;
        const behind = at;
        while (byte >= ZERO && byte <= NINE) {
          digits = digits * 10 + (byte - ZERO);
          byte = bytes[++at] ?? 0;
        }
        places = at - behind;
        if (places === 0) this.fail(at);
      }
      const isPlain = whole === 1 || (whole > 1 && leading !== ZERO);
      if (isPlain && whole + places <= MOST_DIGITS && (byte === COMMA || byte === CLOSE)) {
        const value = places === 0 ? digits : digits / (POWERS[places] ?? 1);
        into[count++] = negative ? -value : value;
      } else {
        this.#at = from;
        into[count++] = this.#byText();
        at = this.#at;
        byte = bytes[at] ?? 0;
      }
      if (count < room && byte === COMMA && isNumberAt(bytes, at + 1)) continue;
      this.#at = at;
      return count;
    }
  }

  /** Any value but an array or an object. */
  value(): number | boolean | string | null {
    switch (this.#bytes[this.#at]) {
      case QUOTE:
        return this.#string();
      case LETTER_T:
        return this.#literal(TRUE, true);
      case LETTER_F:
        return this.#literal(FALSE, false);
      case LETTER_N:
        return this.#literal(NULL, null);
      default:
        return this.number();
    }
  }

  fail(at = this.#at): never {
    throw new Error(`byte ${at} of ${this.#bytes.length} is not what belongs there`);
  }

  #took(byte: number): boolean {
    if (this.#bytes[this.#at] !== byte) return false;
    this.#at++;
    return true;
  }

  #byText(): number {
    const from = this.#at;
    let to = from;
    while (to < this.#bytes.length && this.#bytes[to] !== COMMA && this.#bytes[to] !== CLOSE) to++;
    const text = this.#bytes.toString('latin1', from, to);
    if (!NUMBER_TEXT.test(text)) this.fail();
    this.#at = to;
    return Number(text);
  }

  #string(): string {
    const from = this.#at;
    let at = from + 1;
    let escaped = false;
    for (; this.#bytes[at] !== QUOTE; at++) {
      if (at >= this.#bytes.length) this.fail();
      if (this.#bytes[at] !== BACKSLASH) continue;
      escaped = true;
      at++;
    }
    this.#at = at + 1;
    if (!escaped) return this.#text(from + 1, at);
    const value: unknown = JSON.parse(this.#text(from, at + 1));
    return typeof value === 'string' ? value : this.fail();
  }

  #literal<T>(text: Uint8Array, value: T): T {
    const from = this.#at;
    for (let i = 0; i < text.length; i++) if (this.#bytes[from + i] !== text[i]) this.fail();
    this.#at = from + text.length;
    return value;
  }

  #text(from: number, to: number): string {
    return this.#bytes.toString('utf8', from, to);
  }
}

function isNumberAt(bytes: Uint8Array, at: number): boolean {
  const byte = bytes[at] ?? 0;
  return (byte >= ZERO && byte <= NINE) || byte === MINUS;
}
