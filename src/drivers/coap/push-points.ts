import type { BatchBuilder } from '../../core/batch.ts';
import { reasonCode } from '../../core/quality.ts';
import type { CoapSource, DeviceConfig, PointConfig } from '../../config/config.ts';
import { contentFormat, formatOf, open, type Reading, readings } from './payload.ts';
import { addReading } from './reading.ts';
import { type Place, placeOf } from './typed-value.ts';

const NOT_A_NUMBER = reasonCode('not a number');

export interface Target {
  readonly point: PointConfig;
  readonly source: CoapSource;
  readonly place: Place;
}

/** Points of one device by name. */
export type Targets = ReadonlyMap<string, Target>;

/** What may be pushed, and how its payload becomes samples. Answers with a response code, as in `2.04`. */
export class PushPoints {
  /** Samples taken into the builder. */
  samples = 0;
  readonly #into: BatchBuilder;
  readonly #devices = new Map<string, Targets>();

  constructor(devices: readonly DeviceConfig[], points: readonly PointConfig[], into: BatchBuilder) {
    this.#into = into;
    for (const device of devices) {
      const targets = new Map<string, Target>();
      for (const index of device.points) {
        const point = points[index];
        if (point?.source.kind !== 'coap' || point.source.mode !== 'push') continue;
        targets.set(point.name, { point, source: point.source, place: placeOf(point, point.source) });
      }
      if (targets.size > 0) this.#devices.set(device.name, targets);
    }
  }

  of(device: string): Targets | undefined {
    return this.#devices.get(device);
  }

  /** Samples that nobody has fetched yet. */
  get waiting(): number {
    return this.#into.count;
  }

  /** One point: a value, or its history in a SenML pack. */
  takePoint(target: Target, number: number | undefined, payload: Uint8Array, wall: number): string {
    const declared = target.source.format;
    const format = formatOf(declared, number);
    if (
      format === undefined ||
      (declared !== 'auto' && number !== undefined && number !== contentFormat(declared))
    ) {
      return '4.15';
    }
    return this.#take([[target, readings(open(format, payload, wall), target.place)]], wall);
  }

  /** Several points of a device in one SenML pack; the names of the records are the names of the points. */
  takePack(targets: Targets, number: number | undefined, payload: Uint8Array, wall: number): string {
    const format = number === undefined ? undefined : formatOf('auto', number);
    if (format !== 'senml-json' && format !== 'senml-cbor') return '4.15';
    const content = open(format, payload, wall);
    if (content.kind !== 'pack') return '4.00';
    const byRecord = new Map(
      [...targets.values()].map((target) => [target.source.record ?? target.point.name, target]),
    );
    const names = new Set(content.records.map(({ name }) => name));
    const found: [Target, readonly Reading[]][] = [];
    for (const name of names) {
      const target = byRecord.get(name);
      if (target === undefined) return '4.04'; // whole or not at all
      found.push([target, readings(content, { ...target.place, record: name })]);
    }
    return this.#take(found, wall);
  }

  /** 2.04 says that the samples are in the builder. What cannot be read becomes a bad sample, and the device is told. */
  #take(found: readonly (readonly [Target, readonly Reading[]])[], wall: number): string {
    let isGood = true;
    for (const [{ point }, all] of found) {
      for (const reading of all) {
        this.samples += 1;
        addReading(this.#into, point.index, reading, wall);
        // a sensor that says it has no number speaks well
        isGood &&= reading.ok || reading.reason === NOT_A_NUMBER;
      }
    }
    return isGood ? '2.04' : '4.00';
  }
}
