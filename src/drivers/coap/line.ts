import type { BatchBuilder, PointValue } from '../../core/batch.ts';
import type { Clock } from '../../core/clock.ts';
import { SluiceError } from '../../core/errors.ts';
import type { Log } from '../../core/log.ts';
import { reasonCode } from '../../core/quality.ts';
import type { EpochMs } from '../../core/units.ts';
import type { DeviceConfig, PointConfig } from '../../config/config.ts';
import type { Line, Poll, Scan } from '../driver.ts';
import type { Body } from './block.ts';
import { CoapClient, refusal } from './client.ts';
import { MAX_PAYLOAD, PUT } from './message.ts';
import { CONTENT_FORMAT, pathOptions, uintOption } from './options.ts';
import { contentFormat, formatOf, open, type Reading, readings, TEXT_PLAIN } from './payload.ts';
import { addReading } from './reading.ts';
import { type CoapPoint, pollOf, type Resource, resourcesOf } from './resource.ts';
import { Watcher, type Watched } from './watcher.ts';
import { payloadOf } from './write-payload.ts';

export interface CoapLineDeps {
  readonly clock: Clock;
  readonly log: Log;
  /** 0 to 1: jitter of retransmission and re-registration. */
  readonly random?: () => number;
}

/** What of a body is taken, and the time of what carries none of its own. */
interface Taken {
  readonly which: 'latest' | 'all';
  readonly time: EpochMs;
}

const UNKNOWN_FORMAT = reasonCode('unsupported content format');
const NO_SUCH_VALUE = reasonCode('no such value');

/**
 * A CoAP endpoint as a line: polls are GETs, one per path and period; observed points come through `watch`; a write is
 * a PUT in the format of the point. Pushed points are not read here: `coapServer` takes them. `devices` share host and
 * port. A time-out of a device below 3 s leaves no room for a retransmission (RFC 7252, 4.8).
 */
export function coapLine(
  devices: readonly DeviceConfig[],
  points: readonly PointConfig[],
  deps: CoapLineDeps,
): Required<Line> {
  return new CoapLine(devices, points, deps);
}

class CoapLine implements Required<Line> {
  readonly endpoint: string;
  readonly inFlight = 1; // NSTART, RFC 7252, 4.7
  readonly polls: readonly Poll[];
  readonly watched: readonly number[];
  readonly #client: CoapClient;
  readonly #clock: Clock;
  readonly #secure: boolean;
  readonly #polled: ReadonlyMap<Poll, Resource>;
  readonly #byPoint = new Map<number, Resource>();
  readonly #observed: readonly Resource[];
  readonly #watcher: Watcher;
  /** Content-Format that a path answered with last: how `auto` points are written. */
  readonly #lastFormat = new Map<string, number | undefined>();
  #into: BatchBuilder | undefined;

  constructor(devices: readonly DeviceConfig[], points: readonly PointConfig[], deps: CoapLineDeps) {
    const endpoint = devices[0]?.endpoint;
    if (endpoint?.protocol !== 'coap' && endpoint?.protocol !== 'coaps') {
      throw new TypeError('coapLine takes devices with a CoAP endpoint');
    }
    const random = deps.random ?? Math.random;
    this.#clock = deps.clock;
    this.#secure = endpoint.protocol === 'coaps';
    this.#client = new CoapClient(endpoint.host, endpoint.port, { ...deps, random });
    this.endpoint = this.#secure ? this.#client.endpoint.replace('coap:', 'coaps:') : this.#client.endpoint;
    const polled = resourcesOf(devices, points, 'poll').map(
      (resource) => [pollOf(resource), resource] as const,
    );
    this.#polled = new Map(polled);
    this.polls = polled.map(([poll]) => poll);
    this.#observed = resourcesOf(devices, points, 'observe');
    this.watched = this.#observed.flatMap(({ points: all }) => all.map(({ index }) => index));
    for (const resource of [...this.#polled.values(), ...this.#observed]) {
      for (const { index } of resource.points) this.#byPoint.set(index, resource);
    }
    this.#watcher = new Watcher(
      this.#observed.map((resource) => this.#watched(resource)),
      { client: this.#client, clock: deps.clock, log: deps.log, random },
    );
  }

  async connect(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#secure) {
      throw new SluiceError('CONNECTION_LOST', `${this.endpoint}: CoAP over DTLS is not spoken yet`, {
        remedy: 'use coap:// inside a protected zone',
      });
    }
    await this.#client.open();
  }

  async poll(poll: Poll, into: BatchBuilder, { signal, stamp }: Scan): Promise<void> {
    const resource = this.#polled.get(poll);
    if (resource === undefined) throw new TypeError(`${poll.what} is no poll of ${this.endpoint}`);
    try {
      const body = await this.#client.get(poll.what, resource.options, resource.device.timeout, signal);
      this.#take(resource, body, into, { which: 'latest', time: stamp() });
    } catch (error) {
      if (!(error instanceof SluiceError) || error.code !== 'DEVICE_REFUSED') throw error;
      // 4.xx, 5.xx and a reset are answers
      const time = stamp();
      for (const { index } of resource.points) into.addBad(index, time, error.reason);
    }
  }

  async write(point: number, value: PointValue, signal: AbortSignal): Promise<void> {
    const { resource, at } = this.#find(point);
    const what = `PUT ${resource.path} of ${resource.device.name}`;
    const format = formatOf(resource.format, this.#lastFormat.get(keyOf(resource)) ?? TEXT_PLAIN) ?? 'text';
    const payload = payloadOf(format, at.place, value);
    if (payload === undefined)
      throw refused(`${what}: ${typeof value} does not fit a point of type ${at.source.type}`);
    if (payload.length > MAX_PAYLOAD)
      throw refused(`${what}: ${payload.length} bytes are more than one message takes`);
    const options = [
      ...pathOptions(resource.path),
      uintOption(CONTENT_FORMAT, contentFormat(format) ?? TEXT_PLAIN),
    ];
    const answer = await this.#client.request(
      what,
      { code: PUT, options, payload, limit: resource.device.timeout },
      signal,
    );
    if (answer.code >> 5 !== 2) throw refusal(`${what} on ${this.endpoint}`, answer.code);
  }

  async readBack(point: number, signal: AbortSignal): Promise<PointValue> {
    const { resource, at } = this.#find(point);
    const what = `GET ${resource.path} of ${resource.device.name}`;
    const body = await this.#client.get(what, resource.options, resource.device.timeout, signal);
    const reading = this.#readings(resource, body, this.#clock.now())(at)?.at(-1);
    if (reading?.ok === true) return reading.value;
    // Not a mismatch: the device is there and answers, so nothing has to be backed off.
    throw new SluiceError('DEVICE_REFUSED', `${what}: the answer holds no value for ${at.name}`, {
      reason: 'no such value',
    });
  }

  async watch(into: BatchBuilder, signal: AbortSignal): Promise<void> {
    this.#into = into;
    try {
      await this.#watcher.run(signal);
    } finally {
      this.#into = undefined;
    }
  }

  async close(): Promise<void> {
    await this.#client.close();
  }

  #watched(resource: Resource): Watched {
    return {
      what: `observe ${resource.path} of ${resource.device.name}`,
      options: resource.options,
      limit: resource.device.timeout,
      every: resource.every,
      news: (body) => {
        if (this.#into === undefined) return;
        this.#take(resource, body, this.#into, { which: 'all', time: this.#clock.now() });
      },
      bad: (reason) => {
        for (const { index } of resource.points) this.#into?.addBad(index, this.#clock.now(), reason);
      },
    };
  }

  /** A poll gives one sample per point; a notification everything that its pack carries. */
  #take(resource: Resource, body: Body, into: BatchBuilder, { which, time }: Taken): void {
    const of = this.#readings(resource, body, time);
    for (const point of resource.points) {
      const found = of(point);
      if (found === undefined) into.addBad(point.index, time, UNKNOWN_FORMAT);
      else if (found.length === 0) into.addBad(point.index, time, NO_SUCH_VALUE);
      else
        for (const reading of which === 'all' ? found : found.slice(-1))
          addReading(into, point.index, reading, time);
    }
  }

  /** Decodes once; the function returned looks for a point, and answers undefined where the format is foreign. */
  #readings(
    resource: Resource,
    body: Body,
    now: number,
  ): (point: CoapPoint) => readonly Reading[] | undefined {
    this.#lastFormat.set(keyOf(resource), body.format);
    const format = formatOf(resource.format, body.format);
    if (format === undefined) return () => undefined;
    const content = open(format, body.payload, now);
    return (point) => readings(content, point.place);
  }

  #find(point: number): { readonly resource: Resource; readonly at: CoapPoint } {
    const resource = this.#byPoint.get(point);
    const at = resource?.points.find(({ index }) => index === point);
    if (resource === undefined || at === undefined)
      throw refused(`point ${point} has no resource on ${this.endpoint}`);
    return { resource, at };
  }
}

const keyOf = ({ device, path }: Resource): string => `${device.name}\n${path}`;
const refused = (message: string): SluiceError => new SluiceError('DEVICE_REFUSED', message);
