import { type IncomingMessage, type ObserveWriteStream, type OutgoingMessage, createServer } from 'coap';
import type { Clock } from '../core/clock.ts';
import type { EpochMs } from '../core/units.ts';
import type { CoapDevice } from './coap-device.ts';
import type { Payload } from './coap-payload.ts';
import { deviceSocket } from './coap-socket.ts';
import type { Faults } from './fault.ts';

/** Answers that the library keeps for duplicates. It counts about 12 bytes for each, whatever it really takes. */
const KEPT_ANSWERS = 512;
const COUNTED_BYTES = 12;
/** A gateway, a phone or two; more observers than that are a leak somewhere. */
const MOST_OBSERVERS = 64;
/** Seconds an answer may be used; an observer that hears nothing for longer asks again (RFC 7641, 3.3.1). */
const MAX_AGE = 60;
/** An unchanged value is told again well before that. Milliseconds. */
const TELL_AGAIN = 30_000;

interface Observer {
  readonly key: string;
  readonly path: string;
  readonly stream: ObserveWriteStream;
  told: Buffer;
  toldAt: EpochMs;
}

export interface CoapServing {
  /** Tells observers what changed. */
  notify(time: EpochMs): void;
  readonly observers: number;
  stop(): Promise<void>;
}

/** Serves one device at its own address. Resolves when it listens. */
export async function serveCoap(
  device: CoapDevice,
  host: string,
  port: number,
  faults: Faults,
  clock: Clock,
): Promise<CoapServing> {
  const socket = await deviceSocket(device.name, host, port, faults);
  const observers = new Map<string, Observer>();
  const server = createServer(
    { cacheSize: KEPT_ANSWERS * COUNTED_BYTES, sendAcksForNonConfirmablePackets: true },
    (request: IncomingMessage, response: OutgoingMessage | ObserveWriteStream) => {
      response.on('error', () => {});
      answer(device, request, response, observers, faults, clock.now());
    },
  );
  server.on('error', () => {}); // what cannot be parsed
  server.listen(socket);
  return {
    notify: (time) => tell(device, observers, faults, time),
    get observers() {
      return observers.size;
    },
    stop: async () => {
      for (const { stream } of observers.values()) stream.end();
      server.close();
      await new Promise<void>((resolve) => socket.close(() => resolve()));
    },
  };
}

type Response = OutgoingMessage | ObserveWriteStream;

function answer(
  device: CoapDevice,
  request: IncomingMessage,
  response: Response,
  observers: Map<string, Observer>,
  faults: Faults,
  time: EpochMs,
): void {
  const path = request.url.startsWith('/') ? request.url : `/${request.url}`;
  if (faults.of(device.name) === 'exception') {
    refuse(response, '5.00');
    return;
  }
  switch (request.method) {
    case 'GET':
      get(device, path, request, response, observers, time);
      break;
    case 'PUT':
    case 'POST': {
      response.statusCode = device.write(path, formatOption(request, 'Content-Format'), request.payload);
      response.end();
      tell(device, observers, faults, time);
      break;
    }
    default:
      refuse(response, '4.05');
  }
}

function get(
  device: CoapDevice,
  path: string,
  request: IncomingMessage,
  response: Response,
  observers: Map<string, Observer>,
  time: EpochMs,
): void {
  const payload = device.read(path, time);
  if (payload === undefined) {
    refuse(response, '4.04');
    return;
  }
  const accepted = formatOption(request, 'Accept');
  if (accepted !== undefined && accepted !== payload.format) {
    refuse(response, '4.06');
    return;
  }
  describe(response, payload);
  const { _packet: packet, rsinfo } = request;
  const key = `${rsinfo.address}:${rsinfo.port}/${packet.token?.toString('hex') ?? ''}`;
  observers.get(key)?.stream.end(); // registered again, or no longer interested
  observers.delete(key);
  if (!isObserving(response) || observers.size >= MOST_OBSERVERS) {
    response.end(payload.bytes);
    return;
  }
  const observer: Observer = { key, path, stream: response, told: payload.bytes, toldAt: time };
  observers.set(key, observer);
  response.once('finish', () => {
    if (observers.get(key) === observer) observers.delete(key);
  });
  response.write(payload.bytes);
}

function tell(
  device: CoapDevice,
  observers: ReadonlyMap<string, Observer>,
  faults: Faults,
  time: EpochMs,
): void {
  // A device that fails or is silent has nothing to tell; the library would pile up its retransmissions.
  const fault = faults.of(device.name);
  if (fault === 'silence' || fault === 'exception') return;
  for (const observer of observers.values()) {
    const payload = device.read(observer.path, time);
    if (payload === undefined) continue;
    if (payload.bytes.equals(observer.told) && time - observer.toldAt < TELL_AGAIN) continue;
    observer.told = payload.bytes;
    observer.toldAt = time;
    observer.stream.write(payload.bytes);
  }
}

function describe(response: Response, { format }: Payload): void {
  response.setOption('Content-Format', uintBytes(format));
  response.setOption('Max-Age', uintBytes(MAX_AGE));
}

function refuse(response: Response, code: string): void {
  response.statusCode = code;
  response.end();
}

/** The library makes this kind of response for a GET with Observe 0. */
function isObserving(response: Response): response is ObserveWriteStream {
  return '_counter' in response;
}

/** The library turns numbers of Content-Formats that it knows into names, also where it only looked at them. */
const FORMAT_NAMES: Readonly<Record<string, number>> = {
  'text/plain': 0,
  'application/link-format': 40,
  'application/json': 50,
  'application/cbor': 60,
  'application/senml+json': 110,
  'application/senml+cbor': 112,
};
const FOREIGN_FORMAT = -1;

/** Undefined where the option is not there; `FOREIGN_FORMAT` for one that no simulated device speaks. */
function formatOption({ headers }: IncomingMessage, name: 'Accept' | 'Content-Format'): number | undefined {
  const value = headers[name];
  if (value === undefined) return undefined;
  return typeof value === 'string' ? (FORMAT_NAMES[value] ?? FOREIGN_FORMAT) : FOREIGN_FORMAT;
}

/** RFC 7252, 3.2: no leading zero bytes, none at all for 0. */
function uintBytes(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = value; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return Buffer.from(bytes);
}
