import type { Facts } from '../core/log.ts';
import type { EpochMs } from '../core/units.ts';

/** Something that happened, as against telemetry. The kind is a topic level: `event/<kind>`. */
export interface GatewayEvent {
  readonly kind: string;
  /** Unique within the gateway for all time. */
  readonly id: string;
  readonly time: EpochMs;
  /** What it is about, such as a device. */
  readonly subject: string;
  readonly data: Facts;
}

export function eventTopic(event: GatewayEvent): string {
  return `event/${event.kind}`;
}

/** CloudEvents 1.0, structured mode, JSON format 1.0 (3.1 required and optional attributes). */
export function cloudEvent(gateway: string, event: GatewayEvent): string {
  return JSON.stringify({
    specversion: '1.0',
    id: event.id,
    source: `sluice/${gateway}`,
    type: `sluice.${event.kind}`,
    subject: event.subject,
    time: new Date(event.time).toISOString(),
    datacontenttype: 'application/json',
    data: event.data,
  });
}
