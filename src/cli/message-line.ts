import { visible } from '../core/visible.ts';

interface Telemetry {
  readonly seq: number;
  readonly samples: readonly {
    readonly point: string;
    readonly value: unknown;
    readonly unit?: string;
    readonly quality: string;
    readonly reason?: string;
  }[];
}

function isTelemetry(message: unknown): message is Telemetry {
  return typeof message === 'object' && message !== null && 'seq' in message && 'samples' in message;
}

/**
 * One line a message for a person: `telemetry/meter-main #12  voltage-l1 230.1 V  breaker true`. A text among the
 * values is what a device sent, and a terminal would obey it.
 */
export function messageLine(topic: string, payload: Uint8Array): string {
  const short = topic.split('/').slice(2).join('/');
  const text = Buffer.from(payload).toString();
  const message: unknown = JSON.parse(text);
  if (!isTelemetry(message)) return `${visible(`${short}  ${text}`)}\n`;
  const { seq, samples } = message;
  const values = samples.map(
    ({ point, value, unit, quality, reason }) =>
      `  ${point} ${quality === 'good' ? String(value) : `${quality}: ${reason ?? ''}`}${quality === 'good' && unit !== undefined ? ` ${unit}` : ''}`,
  );
  return `${visible(`${short} #${seq}${values.join('')}`)}\n`;
}
