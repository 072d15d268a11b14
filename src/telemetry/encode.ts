import { BOOLEAN, type Batch, NUMBER, TEXT } from '../core/batch.ts';
import type { PointName } from '../core/point.ts';
import { BAD, GOOD, QUALITIES, REASONS, reasonCode } from '../core/quality.ts';

/** Lines `<topic> <payload JSON>\n`, ready to store and to send. */
export interface EncodedRow {
  readonly body: Buffer;
  readonly messages: number;
  readonly samples: number;
  /** Sequence numbers of the first and the last message; `last < first` where none has one. */
  readonly firstSeq: number;
  readonly lastSeq: number;
}

/** Payload of one message, without its envelope. Brokers of plants often refuse more than 256 KiB. */
export const MAX_MESSAGE_BYTES = 65_536;
/** Text of one journal row: what one read hands out at least, and what is given up at a time. */
export const MAX_ROW_BYTES = 1_048_576;

const NOT_A_NUMBER = reasonCode('not a number');
const ENVELOPE_BYTES = 96; // `telemetry/<device> {"seq":…,"samples":[` and its end, with a long name

interface Fragments {
  /** `{"point":"voltage-l1","time":` */
  readonly head: string;
  /** The same behind a comma, for the second sample and on. */
  readonly next: string;
  /** `,"unit":"V","quality":"good"}` */
  readonly good: string;
  /** `,"unit":"V","quality":` */
  readonly open: string;
  /** Bytes of the fixed parts beyond their characters, where a unit is not ASCII. */
  readonly extraBytes: number;
}

interface Part {
  readonly text: string;
  readonly bytes: number;
  readonly samples: number;
}

/** Collects the samples of one device until the next commit. */
interface DeviceBuffer {
  readonly topic: string;
  readonly parts: Part[];
  text: string;
  extraBytes: number;
  samples: number;
}

/**
 * Turns batches into the messages of DESIGN 5.3: for every `take` one message per device, split at
 * MAX_MESSAGE_BYTES, each device in the order in which its samples came.
 */
export class MessageEncoder {
  readonly #fragments: readonly Fragments[];
  readonly #bufferOf: readonly DeviceBuffer[];
  readonly #dirty: DeviceBuffer[] = [];
  #bytes = 0;
  #samples = 0;

  constructor(points: readonly PointName[]) {
    const buffers = new Map<string, DeviceBuffer>();
    // A hundred meters of one class share the texts of a point.
    const texts = new Map<string, Fragments>();
    this.#fragments = points.map((point) => {
      const key = `${point.point} ${point.unit ?? ''}`;
      const known = texts.get(key) ?? fragmentsOf(point);
      texts.set(key, known);
      return known;
    });
    this.#bufferOf = points.map(({ device }) => {
      const known = buffers.get(device);
      if (known !== undefined) return known;
      const buffer = { topic: `telemetry/${device}`, parts: [], text: '', extraBytes: 0, samples: 0 };
      buffers.set(device, buffer);
      return buffer;
    });
  }

  /** Size of what `take` would return, without envelopes. */
  get bytes(): number {
    return this.#bytes;
  }

  get samples(): number {
    return this.#samples;
  }

  /** Throws RangeError, and takes nothing, where the batch names a point that is not in the table. */
  add(batch: Batch): void {
    const { count, points, times, values, forms, qualities } = batch;
    for (let i = 0; i < count; i++) {
      const point = points[i] ?? -1;
      if (point >= this.#fragments.length)
        throw new RangeError(
          `point ${point} is not among the ${this.#fragments.length} of the configuration`,
        );
    }
    let lastTime = Number.NaN;
    let timeText = '';
    for (let i = 0; i < count; i++) {
      const point = points[i] ?? 0;
      const fragments = this.#fragments[point];
      const buffer = this.#bufferOf[point];
      if (fragments === undefined || buffer === undefined) continue;
      const time = times[i] ?? 0;
      if (time !== lastTime) {
        lastTime = time;
        timeText = `${Math.round(time)},"value":`;
      }
      const before = buffer.text.length;
      if (before === 0) {
        if (buffer.parts.length === 0) this.#dirty.push(buffer);
        buffer.text = fragments.head;
      } else {
        buffer.text += fragments.next;
      }
      let extraBytes = fragments.extraBytes;
      const form = forms[i];
      const value = values[i] ?? 0;
      if (qualities[i] === GOOD && form === NUMBER && Number.isFinite(value)) {
        buffer.text += timeText + value + fragments.good;
      } else {
        const tail = uncommonSample(batch, i, fragments);
        extraBytes += Buffer.byteLength(tail) - tail.length;
        buffer.text += timeText + tail;
      }
      buffer.samples++;
      buffer.extraBytes += extraBytes;
      this.#bytes += buffer.text.length - before + extraBytes;
      if (buffer.text.length + buffer.extraBytes > MAX_MESSAGE_BYTES - ENVELOPE_BYTES) split(buffer, before);
    }
    this.#samples += count;
  }

  /** Everything added since the last call, numbered from `seq`, in rows of about MAX_ROW_BYTES. */
  take(seq: number): EncodedRow[] {
    const rows: EncodedRow[] = [];
    let next = seq;
    let row = { text: '', bytes: 0, first: seq, samples: 0 };
    const finish = (): void => {
      rows.push({
        body: Buffer.from(row.text),
        messages: next - row.first,
        samples: row.samples,
        firstSeq: row.first,
        lastSeq: next - 1,
      });
      row = { text: '', bytes: 0, first: next, samples: 0 };
    };
    for (const buffer of this.#dirty) {
      closePart(buffer);
      for (const part of buffer.parts) {
        row.text += `${buffer.topic} {"seq":${next},"samples":[${part.text}]}\n`;
        row.bytes += part.bytes;
        row.samples += part.samples;
        next++;
        if (row.bytes >= MAX_ROW_BYTES) finish();
      }
      buffer.parts.length = 0;
    }
    if (row.text !== '') finish();
    this.#dirty.length = 0;
    this.#bytes = 0;
    this.#samples = 0;
    return rows;
  }

  /** Forgets everything added since the last `take`. */
  clear(): void {
    for (const buffer of this.#dirty) {
      closePart(buffer);
      buffer.parts.length = 0;
    }
    this.#dirty.length = 0;
    this.#bytes = 0;
    this.#samples = 0;
  }
}

/** One event as a line of a row; `payload` must be one line, as JSON.stringify writes it. */
export function eventLine(topic: string, payload: string): string {
  return `${topic} ${payload}\n`;
}

/** What will never be sent (again), as DESIGN 5.3 tells it. */
export function gapLine(seq: number, gap: { from: number; to: number; reason: string }): string {
  return `history/gateway ${JSON.stringify({ seq, gap: { from: gap.from, to: gap.to, reason: gap.reason } })}\n`;
}

function fragmentsOf({ point, unit }: PointName): Fragments {
  const head = `{"point":${JSON.stringify(point)},"time":`;
  const open = `${unit === undefined ? '' : `,"unit":${JSON.stringify(unit)}`},"quality":`;
  const fixed = head + open;
  return {
    head,
    next: `,${head}`,
    open,
    good: `${open}"good"}`,
    extraBytes: Buffer.byteLength(fixed) - fixed.length,
  };
}

/** The rest of a sample that is not a good number. */
function uncommonSample(batch: Batch, i: number, { open, good }: Fragments): string {
  const form = batch.forms[i];
  const value = batch.values[i] ?? 0;
  let quality = batch.qualities[i] ?? BAD;
  let reason = batch.reasons[i] ?? 0;
  let text = 'null';
  if (form === NUMBER && Number.isFinite(value)) text = `${value}`;
  else if (form === BOOLEAN) text = value === 0 ? 'false' : 'true';
  else if (form === TEXT) text = JSON.stringify(batch.texts[value] ?? '');
  else if (form === NUMBER) reason = NOT_A_NUMBER;
  if (text === 'null') quality = BAD;
  if (quality === BAD) text = 'null'; // an error is never a value
  if (quality === GOOD) return text + good;
  const why = REASONS[reason] ?? '';
  return `${text}${open}"${QUALITIES[quality] ?? 'bad'}"${why === '' ? '' : `,"reason":"${why}"`}}`;
}

/** The sample that does not fit any more begins the next message. */
function split(buffer: DeviceBuffer, at: number): void {
  if (at === 0) {
    closePart(buffer);
    return;
  }
  const overflow = buffer.text.slice(at + 1); // behind the comma
  const extraBytes = Buffer.byteLength(overflow) - overflow.length;
  buffer.text = buffer.text.slice(0, at);
  buffer.samples--;
  buffer.extraBytes -= extraBytes;
  closePart(buffer);
  buffer.text = overflow;
  buffer.samples = 1;
  buffer.extraBytes = extraBytes;
}

function closePart(buffer: DeviceBuffer): void {
  const { text, samples, extraBytes } = buffer;
  if (samples > 0) buffer.parts.push({ text, samples, bytes: text.length + extraBytes });
  buffer.text = '';
  buffer.samples = 0;
  buffer.extraBytes = 0;
}
