/**
 * The coding of Gorilla (Pelkonen et al., VLDB 2015, section 4.1), as a baseline: times as the difference of their
 * differences, values as the bits that differ from the value before. Times are milliseconds where the paper has
 * seconds; the first difference takes 32 bits instead of 14, once a block.
 */
export function gorillaEncoded(times: Float64Array, values: Float64Array): Uint8Array {
  const out = new BitWriter();
  const first = times[0] ?? 0;
  out.write(Math.floor(first / WORD), 32);
  out.write(first % WORD, 32);
  const [high, low] = bitsOf(values[0] ?? 0);
  out.write(high, 32);
  out.write(low, 32);
  let delta = 0;
  const state: Window = { high, low, leading: NONE, trailing: 0 };
  for (let i = 1; i < times.length; i++) {
    const next = (times[i] ?? 0) - (times[i - 1] ?? 0);
    if (i === 1) out.write(next, 32);
    else writeTime(out, next - delta);
    delta = next;
    writeValue(out, values[i] ?? 0, state);
  }
  return out.bytes();
}

export function gorillaDecoded(
  bytes: Uint8Array,
  count: number,
): { times: Float64Array; values: Float64Array } {
  const from = new BitReader(bytes);
  const times = new Float64Array(count);
  const values = new Float64Array(count);
  times[0] = from.read(32) * WORD + from.read(32);
  const state: Window = { high: from.read(32), low: from.read(32), leading: NONE, trailing: 0 };
  values[0] = valueOf(state);
  let delta = 0;
  for (let i = 1; i < count; i++) {
    delta = i === 1 ? from.read(32) : delta + readTime(from);
    times[i] = (times[i - 1] ?? 0) + delta;
    readValue(from, state);
    values[i] = valueOf(state);
  }
  return { times, values };
}

const WORD = 2 ** 32;
/** No value but the first has been written. */
const NONE = -1;
const MOST_LEADING = 31; // it has 5 bits

/** The bits of the last value, and where its meaningful ones lay. */
interface Window {
  high: number;
  low: number;
  leading: number;
  trailing: number;
}

/** Control bits, their number, and the bits of the difference: the table of the paper. */
const TIME_RANGES = [
  { control: 0b10, length: 2, bits: 7 },
  { control: 0b110, length: 3, bits: 9 },
  { control: 0b1110, length: 4, bits: 12 },
  { control: 0b1111, length: 4, bits: 32 },
] as const;

function writeTime(out: BitWriter, difference: number): void {
  if (difference === 0) {
    out.write(0, 1);
    return;
  }
  for (const { control, length, bits } of TIME_RANGES) {
    const half = 2 ** (bits - 1);
    if (difference < -half || difference >= half) continue;
    out.write(control, length);
    out.write(difference >>> 0, bits);
    return;
  }
  throw new RangeError(`a difference of ${difference} ms`);
}

function readTime(from: BitReader): number {
  let length = 0;
  while (length < 4 && from.read(1) === 1) length++;
  const range = TIME_RANGES[length - 1];
  if (range === undefined) return 0;
  const read = from.read(range.bits);
  return read >= 2 ** (range.bits - 1) ? read - 2 ** range.bits : read;
}

function writeValue(out: BitWriter, value: number, state: Window): void {
  const [high, low] = bitsOf(value);
  const [changedHigh, changedLow] = [(high ^ state.high) >>> 0, (low ^ state.low) >>> 0];
  state.high = high;
  state.low = low;
  if (changedHigh === 0 && changedLow === 0) {
    out.write(0, 1);
    return;
  }
  out.write(1, 1);
  const leading = Math.min(
    MOST_LEADING,
    changedHigh === 0 ? 32 + Math.clz32(changedLow) : Math.clz32(changedHigh),
  );
  const trailing = changedLow === 0 ? 32 + trailingZeros(changedHigh) : trailingZeros(changedLow);
  if (state.leading !== NONE && leading >= state.leading && trailing >= state.trailing) {
    out.write(0, 1);
  } else {
    state.leading = leading;
    state.trailing = trailing;
    out.write(1, 1);
    out.write(leading, 5);
    out.write((64 - leading - trailing) % 64, 6); // 64 bits are written as 0
  }
  writeMeaningful(out, changedHigh, changedLow, state);
}

function writeMeaningful(out: BitWriter, high: number, low: number, { leading, trailing }: Window): void {
  const inHigh = 32 - leading - Math.max(0, trailing - 32);
  out.write(trailing > 32 ? high >>> (trailing - 32) : high, inHigh);
  if (trailing < 32) out.write(low >>> trailing, 32 - trailing);
}

function readValue(from: BitReader, state: Window): void {
  if (from.read(1) === 0) return;
  if (from.read(1) === 1) {
    state.leading = from.read(5);
    const length = from.read(6);
    state.trailing = 64 - state.leading - (length === 0 ? 64 : length);
  }
  const { leading, trailing } = state;
  const high = from.read(32 - leading - Math.max(0, trailing - 32));
  state.high = (state.high ^ (trailing > 32 ? high << (trailing - 32) : high)) >>> 0;
  if (trailing < 32) state.low = (state.low ^ (from.read(32 - trailing) << trailing)) >>> 0;
}

const double = new DataView(new ArrayBuffer(8));

function bitsOf(value: number): [high: number, low: number] {
  double.setFloat64(0, value);
  return [double.getUint32(0), double.getUint32(4)];
}

function valueOf({ high, low }: Window): number {
  double.setUint32(0, high);
  double.setUint32(4, low);
  return double.getFloat64(0);
}

function trailingZeros(word: number): number {
  return 31 - Math.clz32(word & -word);
}

class BitWriter {
  #bytes = new Uint8Array(4_096);
  #length = 0;

  write(value: number, bits: number): void {
    if ((this.#length + bits) / 8 >= this.#bytes.length) {
      const larger = new Uint8Array(this.#bytes.length * 2);
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    for (let left = bits; left > 0; ) {
      const at = this.#length >>> 3;
      const room = 8 - (this.#length & 7);
      const take = Math.min(room, left);
      const part = (value >>> (left - take)) & ((1 << take) - 1);
      this.#bytes[at] = (this.#bytes[at] ?? 0) | (part << (room - take));
      this.#length += take;
      left -= take;
    }
  }

  bytes(): Uint8Array {
    return this.#bytes.slice(0, Math.ceil(this.#length / 8));
  }
}

class BitReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  read(bits: number): number {
    let value = 0;
    for (let left = bits; left > 0; ) {
      const room = 8 - (this.#at & 7);
      const take = Math.min(room, left);
      const part = ((this.#bytes[this.#at >>> 3] ?? 0) >>> (room - take)) & ((1 << take) - 1);
      value = value * 2 ** take + part;
      this.#at += take;
      left -= take;
    }
    return value;
  }
}
