import type { PointConfig } from '../config/config.ts';
import type { Batch } from '../core/batch.ts';
import { BAD, REASONS, reasonCode } from '../core/quality.ts';

/** Reasons that say that nothing came from the device; any other bad sample is a word of its own. */
const SILENCE: ReadonlySet<number> = new Set([
  reasonCode('timeout'),
  reasonCode('stale'),
  reasonCode('connection lost'),
  reasonCode('not heard yet'),
]);

const NOBODY = -1;

/**
 * Which devices are heard that speak by themselves. A polled device is followed by the runner, which asks; of one that
 * is observed or pushes only the samples tell: it is silent as soon as each of its points is, and back with the first
 * that is not. Owned by whoever calls `noticed`.
 */
export interface Presence {
  readonly devices: readonly string[];
  /** Index into `devices` of each point, NOBODY where its device is polled. */
  readonly deviceOf: Int32Array;
  /** Per point: the reason of its silence, 0 while it is heard. */
  readonly silences: Uint8Array;
  /** Per device: its points that are not silent. */
  readonly present: Int32Array;
  /** Per device: `Clock.elapsed` at which its silence was told, NaN while it is heard. */
  readonly silentSince: Float64Array;
}

export interface PresenceChange {
  readonly device: string;
  readonly state: 'silent' | 'back';
  /** Of a silence: the reason of one of its points. */
  readonly reason: string;
  /** How long it was said to be silent, ms; 0 where it falls silent now. */
  readonly silentFor: number;
}

const NO_CHANGES: readonly PresenceChange[] = [];

export function createPresence(points: readonly PointConfig[]): Presence {
  const polled = new Set(points.filter(isPolled).map(({ device }) => device));
  const devices = [...new Set(points.map(({ device }) => device))].filter((name) => !polled.has(name));
  const indices = new Map(devices.map((name, index) => [name, index]));
  const deviceOf = Int32Array.from(points, ({ device }) => indices.get(device) ?? NOBODY);
  const present = new Int32Array(devices.length);
  for (const device of deviceOf) if (device !== NOBODY) present[device] = (present[device] ?? 0) + 1;
  return {
    devices,
    deviceOf,
    silences: new Uint8Array(points.length),
    present,
    silentSince: new Float64Array(devices.length).fill(Number.NaN),
  };
}

export function isPolled({ source }: PointConfig): boolean {
  return source.kind === 'modbus' || source.mode === 'poll';
}

/** Takes in a batch, those samples included that say that nothing came. `elapsed` is `Clock.elapsed`, ms. */
export function noticed(presence: Presence, batch: Batch, elapsed: number): readonly PresenceChange[] {
  const { devices, deviceOf, silences, present } = presence;
  if (devices.length === 0) return NO_CHANGES;
  const touched = new Set<number>();
  for (let i = 0; i < batch.count; i++) {
    const point = batch.points[i] ?? 0;
    const device = deviceOf[point] ?? NOBODY;
    if (device === NOBODY) continue;
    const reason = batch.reasons[i] ?? 0;
    const silence = batch.qualities[i] === BAD && SILENCE.has(reason) ? reason : 0;
    const before = silences[point] ?? 0;
    silences[point] = silence;
    if ((before === 0) === (silence === 0)) continue;
    present[device] = (present[device] ?? 0) + (silence === 0 ? 1 : -1);
    touched.add(device);
  }
  if (touched.size === 0) return NO_CHANGES;
  return [...touched].flatMap((device) => changeOf(presence, device, elapsed) ?? []);
}

function changeOf(presence: Presence, index: number, elapsed: number): PresenceChange | undefined {
  const { devices, present, silentSince, deviceOf, silences } = presence;
  const device = devices[index] ?? '';
  const since = silentSince[index] ?? Number.NaN;
  const isSilent = present[index] === 0;
  if (isSilent === !Number.isNaN(since)) return undefined;
  silentSince[index] = isSilent ? elapsed : Number.NaN;
  if (!isSilent) return { device, state: 'back', reason: '', silentFor: Math.round(elapsed - since) };
  const one = deviceOf.indexOf(index);
  return { device, state: 'silent', reason: REASONS[silences[one] ?? 0] ?? '', silentFor: 0 };
}
