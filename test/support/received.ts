/** What a subscriber of telemetry and history got, as a platform would keep its books. */
export interface Received {
  readonly topic: string;
  readonly seq: number;
  readonly samples: readonly ReceivedSample[];
  readonly gap: { readonly from: number; readonly to: number; readonly reason: string } | undefined;
}

export interface ReceivedSample {
  readonly point: string;
  readonly time: number;
  readonly value: number | boolean | string | null;
  readonly unit?: string;
  readonly quality: string;
  readonly reason?: string;
}

interface Payload {
  readonly seq: number;
  readonly samples?: readonly ReceivedSample[];
  readonly gap?: { readonly from: number; readonly to: number; readonly reason: string };
}

function isPayload(value: unknown): value is Payload {
  return (
    typeof value === 'object' && value !== null && 'seq' in value && ('samples' in value || 'gap' in value)
  );
}

/** Parses lines of `mosquitto_sub -v`: topic, space, payload. Other topics than telemetry and history are left out. */
export function received(lines: readonly string[]): Received[] {
  const found: Received[] = [];
  for (const line of lines) {
    const space = line.indexOf(' ');
    const topic = line.slice(0, space);
    if (!/^sluice\/[^/]+\/(telemetry|history)\//.test(topic)) continue;
    const payload: unknown = JSON.parse(line.slice(space + 1));
    if (!isPayload(payload)) throw new Error(`no telemetry: ${line}`);
    found.push({ topic, seq: payload.seq, samples: payload.samples ?? [], gap: payload.gap });
  }
  return found;
}

/** Sequence numbers between the first and the last that neither arrived nor were told as a gap. */
export function holes(messages: readonly Received[]): number[] {
  const seen = new Set<number>();
  for (const { seq, gap } of messages) {
    seen.add(seq);
    for (let n = gap?.from ?? 1; n <= (gap?.to ?? 0); n++) seen.add(n);
  }
  const missing: number[] = [];
  const last = Math.max(...seen);
  for (let n = Math.min(...seen); n <= last; n++) if (!seen.has(n)) missing.push(n);
  return missing;
}

/** The same seq must always carry the same content: a duplicate is allowed, a contradiction is not. */
export function contradictions(messages: readonly Received[]): number[] {
  const content = new Map<number, string>();
  const wrong: number[] = [];
  for (const { seq, samples, gap } of messages) {
    const text = JSON.stringify([samples, gap]);
    const before = content.get(seq);
    if (before !== undefined && before !== text) wrong.push(seq);
    content.set(seq, text);
  }
  return wrong;
}
