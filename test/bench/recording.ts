import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { Histogram, type Spread } from './histogram.ts';
import { heldFor, indexIn, LIMITS } from './plant.ts';

// The slave's value may be a tick (100 ms) older than it looks, and the gateway may stamp a whole scan with the moment
// at which it was due; beyond that a value belongs to another time or, with 16 s between devices, to another device.
const PLAUSIBLE_MS = 5_000;

export interface Window {
  /** Only samples that were taken from here … (milliseconds since 1970) */
  readonly from: number;
  /** … to here are counted. */
  readonly to: number;
}

/** Messages of one kind, over the whole recording. */
export interface Lane {
  readonly messages: number;
  readonly values: number;
  readonly bytes: number;
  /** Milliseconds from the sample's time to its arrival at the subscriber, over the values of the window. */
  readonly age: Spread;
  /** Arrival of the first and last message, milliseconds since 1970. */
  readonly first: number;
  readonly last: number;
}

export interface Findings {
  readonly live: Lane;
  readonly history: Lane;
  /** Values of the window, each (device, point, time) once. */
  readonly distinct: number;
  /** Samples of quality other than good. */
  readonly bad: number;
  /** Values that the slave never gave for that point at that time. */
  readonly wrong: number;
  /** Sequence numbers that are missing between the lowest and the highest of the whole recording. */
  readonly holes: number;
  /** Messages that came more than once. */
  readonly duplicates: number;
}

const telemetry = z.object({
  seq: z.number(),
  samples: z.array(
    z.object({
      point: z.string(),
      time: z.number(),
      value: z.union([z.number(), z.boolean(), z.string(), z.null()]),
      quality: z.string(),
    }),
  ),
});

const naive = z.object({ time: z.number(), value: z.number(), quality: z.string() });

interface Sample {
  readonly device: number;
  readonly point: number;
  readonly time: number;
  readonly value: unknown;
  readonly quality: string;
}

class LaneCount {
  messages = 0;
  values = 0;
  bytes = 0;
  age = new Histogram();
  first = Number.POSITIVE_INFINITY;
  last = 0;

  message({ arrival, bytes, samples }: Arrived): void {
    this.messages++;
    this.values += samples.length;
    this.bytes += bytes;
    this.first = Math.min(this.first, arrival);
    this.last = Math.max(this.last, arrival);
  }

  total(): Lane {
    const { messages, values, bytes, first, last } = this;
    return { messages, values, bytes, age: this.age.spread(), first, last };
  }
}

/** Which values were there before. A bit for each point of a device that was read at one moment: millions fit. */
class SeenOnce {
  readonly #moments = new Map<number, Uint32Array>();

  /** True the first time. */
  add(time: number, device: number, point: number): boolean {
    const moment = time * LIMITS.devices + device;
    const bits = this.#moments.get(moment) ?? new Uint32Array(Math.ceil(LIMITS.points / 32));
    const word = bits[point >> 5] ?? 0;
    const bit = 1 << (point & 31);
    if ((word & bit) !== 0) return false;
    bits[point >> 5] = word | bit;
    this.#moments.set(moment, bits);
    return true;
  }
}

/** Reads a recording of `recorder.ts` from beginning to end, and judges every value in it. */
export async function readRecording(file: string, window: Window): Promise<Findings> {
  const lanes = { live: new LaneCount(), history: new LaneCount() };
  const seqs = new Map<number, number>();
  const seen = new SeenOnce();
  let [distinct, bad, wrong] = [0, 0, 0];

  const judge = (sample: Sample, arrival: number, lane: LaneCount): void => {
    const { device, point, time, value } = sample;
    if (time < window.from || time >= window.to) return;
    lane.age.add(arrival - time);
    if (sample.quality !== 'good') bad++;
    else if (typeof value !== 'number' || !plausible(heldFor(value, device, point, time))) wrong++;
    if (seen.add(time, device, point)) distinct++;
  };

  for await (const line of createInterface({ input: createReadStream(file) })) {
    const message = parse(line);
    if (message === undefined) continue;
    const lane = lanes[message.lane];
    lane.message(message);
    if (message.seq !== undefined) seqs.set(message.seq, (seqs.get(message.seq) ?? 0) + 1);
    for (const sample of message.samples) judge(sample, message.arrival, lane);
  }

  return {
    live: lanes.live.total(),
    history: lanes.history.total(),
    distinct,
    bad,
    wrong,
    ...continuity(seqs),
  };
}

function plausible(held: number | undefined): boolean {
  return held !== undefined && Math.abs(held) <= PLAUSIBLE_MS;
}

/** Every message counts, but only telemetry of the gateway has a sequence number. */
function continuity(seqs: ReadonlyMap<number, number>): { holes: number; duplicates: number } {
  let [lowest, highest, total] = [Number.POSITIVE_INFINITY, 0, 0];
  for (const [seq, times] of seqs) {
    lowest = Math.min(lowest, seq);
    highest = Math.max(highest, seq);
    total += times;
  }
  const expected = seqs.size === 0 ? 0 : highest - lowest + 1;
  return { holes: expected - seqs.size, duplicates: total - seqs.size };
}

interface Arrived {
  readonly lane: 'live' | 'history';
  readonly arrival: number;
  readonly bytes: number;
  readonly seq: number | undefined;
  readonly samples: readonly Sample[];
}

/** `<seconds> <tab> <topic> <tab> <payload>`; undefined for topics that carry no values. */
function parse(line: string): Arrived | undefined {
  const [at = '', topic = '', payload = ''] = line.split('\t', 3);
  const arrival = Number(at) * 1_000;
  const bytes = payload.length;
  const [root, second = '', third = '', fourth = ''] = topic.split('/');
  if (root === 'naive') {
    if (second === 'backlog') return { lane: 'live', arrival, bytes, seq: undefined, samples: [] };
    const sample = { device: indexIn(second), point: indexIn(third), ...naive.parse(JSON.parse(payload)) };
    return { lane: 'live', arrival, bytes, seq: undefined, samples: [sample] };
  }
  if (third !== 'telemetry' && third !== 'history') return undefined;
  const { seq, samples } = telemetry.parse(JSON.parse(payload));
  const device = indexIn(fourth);
  return {
    lane: third === 'history' ? 'history' : 'live',
    arrival,
    bytes,
    seq,
    samples: samples.map((sample) => ({ ...sample, device, point: indexIn(sample.point) })),
  };
}
