import { z } from 'zod';
import { DEADBAND_EXAMPLES, PERCENT } from './deadband.ts';
import { isMapping } from './checked.ts';
import { DEFAULTS } from './defaults.ts';
import { EVENT_PATTERN, TELEMETRY_PATTERN } from './pattern.ts';
import {
  text,
  name,
  nameOf,
  duration,
  size,
  number,
  yesNo,
  file,
  hostAndPort,
  interfaceName,
  oneOf,
  whole,
  keys,
  named,
  later,
} from './leaves.ts';
import { zone, network, conduit, segmentation } from './network-schema.ts';

// The shape of gateway.yaml, from which both the checks and gateway.schema.json come. The message of a leaf is the
// second half of a problem: what to write instead. What needs a second place of the file is checked elsewhere.

/** Units go into every message. */
const MAX_UNIT_LENGTH = 32;

export const gateway = keys(
  {
    id: name.describe('Name of this gateway; part of every topic.'),
    data: file
      .default(DEFAULTS.data)
      .describe('Folder for everything the gateway keeps, relative to this file.'),
  },
  'The appliance itself.',
);

export const listen = keys(
  { listen: hostAndPort.describe('IP address and port to listen on, such as 127.0.0.1:8883.') },
  'Where to listen.',
);

export const upstream = keys(
  {
    url: text(/^mqtts:\/\/[^/]+\/?$/, 'mqtts://host:8883; other schemes are not encrypted').describe(
      `Broker of the platform, mqtts://host[:${DEFAULTS.mqttsPort}]. The host may be a name.`,
    ),
    ca: file.describe('Certificate authority of the broker, PEM.'),
    cert: file
      .optional()
      .describe('Client certificate, PEM. Left out, the gateway shows one of its own local CA.'),
    key: file.optional().describe('Private key of the client certificate, PEM.'),
  },
  'The broker of the platform. Left out, the embedded broker is the upstream.',
);

export const published = keys(
  {
    telemetry: text(
      TELEMETRY_PATTERN,
      'device/point, with * for any run of letters, such as "*/*" or "meter-*/voltage-l1"',
    )
      .optional()
      .describe('Points that go up: device/point, with * for any run of letters.'),
    event: text(EVENT_PATTERN, 'the kind of an event, with * for any run of letters')
      .optional()
      .describe('Kinds of events that go up, with * for any run of letters.'),
  },
  'One pattern: telemetry or event.',
);

const PUBLISH = 'write a list of patterns such as - { telemetry: "*/*" }';
const mqttKeys = {
  embedded: z
    .union([z.literal('off'), listen], { error: 'write off, or { listen: "127.0.0.1:8883" }' })
    .optional()
    .describe(
      `The broker inside the gateway, mutual TLS only. Left out it listens on ${DEFAULTS.embedded}, unless there is an upstream; "off" where an upstream serves.`,
    ),
  upstream: upstream.optional(),
  publish: z
    .array(published.meta({ minProperties: 1, maxProperties: 1 }), { error: PUBLISH })
    .optional()
    .describe('What goes up. Left out, everything; an empty list means nothing.'),
};
export const mqttHead = keys(
  {
    ...mqttKeys,
    upstream: later,
    publish: z.array(z.unknown(), { error: PUBLISH }).optional(),
  },
  'Where telemetry and events go.',
);
const mqtt = keys(mqttKeys, 'Where telemetry and events go.');

const width = number.nonnegative({ error: `write ${DEADBAND_EXAMPLES}` });
const percent = text(PERCENT, DEADBAND_EXAMPLES);
const pointKeys = {
  unit: z
    .string({ error: 'write the unit as text' })
    .min(1, { error: 'write the unit, or leave it out' })
    .max(MAX_UNIT_LENGTH, { error: `use at most ${MAX_UNIT_LENGTH} characters` })
    .refine((unit) => !/\p{C}/u.test(unit), { error: 'write the unit without control characters' })
    .optional()
    .describe('Unit of the value, for people and platforms.'),
  scale: number.optional().describe('value = raw * scale + offset. Default 1.'),
  offset: number.optional().describe('value = raw * scale + offset. Default 0.'),
  deadband: z
    .union([width, percent], { error: `write ${DEADBAND_EXAMPLES}` })
    .optional()
    .describe(
      'Changes smaller than this are not reported: a width in the unit, or a percentage of the span (of the value where there is no span).',
    ),
  span: z
    .tuple([number, number], { error: 'write the two ends of the range, such as [0, 100]' })
    .optional()
    .describe('Range of the value in its unit: [low, high].'),
  'min-interval': duration
    .default(DEFAULTS.minInterval)
    .describe('Shortest time between two reports; changes of quality always pass.'),
  heartbeat: duration
    .default(DEFAULTS.heartbeat)
    .describe('Longest time between two reports, changed or not.'),
  every: duration.optional().describe('Period of this point, in place of the one of its class.'),
  history: yesNo
    .default(true)
    .describe('Keep its values on the gateway? Where not, they go up and to flows, and are forgotten here.'),
  writable: yesNo.default(false).describe('May a command write it?'),
  min: number.optional().describe('Smallest value that a command may write, in the unit of the point.'),
  max: number.optional().describe('Largest value that a command may write, in the unit of the point.'),
};

export const modbusPoint = keys(
  {
    at: z
      .string({
        error: 'write table:address[.bit]:type[:order] in quotes, such as "input:0:float32" or "coil:3"',
      })
      .meta({
        pattern:
          '^(?:(?:coil|discrete|input|holding):\\d+|\\d{6})(?:\\.\\d+)?(?::[a-z]+\\d*(?:\\(\\d+\\))?(?::[ABCD]{4})?)?$',
      })
      .describe(
        'table:address[.bit]:type[:order]. Tables coil, discrete, input, holding; zero-based address, or a six-digit Modicon number in place of both; types bool int16 uint16 int32 uint32 int64 uint64 float32 float64 string(n) bcd16 bcd32; order ABCD CDAB BADC DCBA.',
      ),
    ...pointKeys,
  },
  'A point of a Modbus device.',
);

export const coapPoint = keys(
  {
    at: z
      .string({ error: 'write the path of the resource, such as /sensors/level' })
      .optional()
      .describe('Path of the resource, with query: /sensors/level. A pushed point has none.'),
    observe: yesNo
      .optional()
      .describe('Let the device tell changes (RFC 7641) instead of asking every period.'),
    push: yesNo
      .optional()
      .describe('The device sends by itself, POST or PUT to /<device>/<point> of coap.listen.'),
    format: oneOf(['auto', 'text', 'json', 'cbor', 'senml-json', 'senml-cbor'])
      .default('auto')
      .describe(
        'Format of the payload; auto takes what the Content-Format of the message says, text where it says nothing.',
      ),
    pointer: z
      .string({ error: 'write a JSON pointer such as /level/value' })
      .regex(/^(?:\/(?:[^~]|~[01])*)?$/, {
        error: 'write a JSON pointer (RFC 6901) such as /level/value; ~ is ~0, / inside a name is ~1',
      })
      .optional()
      .describe('JSON pointer (RFC 6901) to the value in a JSON or CBOR payload.'),
    record: text(/^[A-Za-z0-9][A-Za-z0-9:./_-]{0,254}$/, 'the full name of a SenML record (RFC 8428, 4.5.1)')
      .optional()
      .describe('Full name of the SenML record, base name included. Left out, the only record of the pack.'),
    type: oneOf(['number', 'bool', 'string']).default('number').describe('Type of the value.'),
    ...pointKeys,
  },
  'A point of a CoAP device.',
);

export type ModbusPointKeys = z.output<typeof modbusPoint>;
export type CoapPointKeys = z.output<typeof coapPoint>;

const modbusKeys = {
  zone: nameOf('a zone').describe('Zone of every device of the class.'),
  protocol: z.literal('modbus').describe('Protocol of the class.'),
  every: duration.default(DEFAULTS.everyModbus).describe('How often every point is read.'),
  timeout: duration.default(DEFAULTS.timeoutModbus).describe('Longest wait for one reply.'),
  'in-flight': whole(1, 16)
    .default(DEFAULTS.inFlight)
    .describe('Requests at a time on one connection (Modbus Messaging Guide V1.0b, 4.4.1.2).'),
};

const coapKeys = {
  zone: nameOf('a zone').describe('Zone of every device of the class.'),
  protocol: z.literal('coap').describe('Protocol of the class.'),
  every: duration
    .default(DEFAULTS.everyCoap)
    .describe('How often every point is read; for observe and push the longest silence that is normal.'),
  timeout: duration
    .default(DEFAULTS.timeoutCoap)
    .describe('Longest wait for one answer, retransmissions (RFC 7252, 4.2) included.'),
};

const anyPoints = z.record(z.string(), z.unknown(), { error: 'write a mapping of points' });
/** What to do where a class is no mapping. */
export const CLASS = 'write a mapping with zone, protocol, points';
export const modbusClass = keys({ ...modbusKeys, points: anyPoints }, 'A class of Modbus devices.');
export const coapClass = keys({ ...coapKeys, points: anyPoints }, 'A class of CoAP devices.');

export const device = keys(
  {
    class: nameOf('a class').describe('What the device is.'),
    at: z
      .string({ error: 'write the address of the device, such as modbus-tcp://10.20.20.11?unit=1' })
      .meta({ pattern: '^(?:modbus-tcp|modbus-rtu-tcp|coap)://[0-9a-fA-F.:[\\]]+/?(?:\\?unit=\\d+)?$' })
      .describe(
        'modbus-tcp://host[:502]?unit=1, modbus-rtu-tcp://host:port?unit=1 or coap://host[:5683]; the host is an IP address, IPv6 in brackets.',
      ),
    mac: text(
      /^[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}$/,
      'six pairs of hex digits, such as "02:00:00:00:20:11"',
    )
      .optional()
      .describe('Hardware address, where traffic of the device is to be tied to it.'),
    port: interfaceName('lan1')
      .optional()
      .describe('Access port that it is plugged in at. Left out, any of its zone.'),
  },
  'One piece of equipment with an address.',
);

export const retention = keys(
  {
    raw: duration.default(DEFAULTS.retention.raw).describe('How long every sample is kept.'),
    minute: duration.default(DEFAULTS.retention.minute).describe('How long rollups of a minute are kept.'),
    hour: duration.default(DEFAULTS.retention.hour).describe('How long rollups of an hour are kept.'),
    disk: size
      .default(DEFAULTS.retention.disk)
      .describe('What all of it may take; MB and GB are powers of 1000.'),
  },
  'What is kept on the gateway.',
);

const telemetryKeys = {
  retention: retention.optional(),
  outbox: size
    .optional()
    .describe(
      'What still has to reach the upstream may take this much. Default a quarter of retention.disk.',
    ),
  'commit-every': duration
    .default(DEFAULTS.commitEvery)
    .describe(
      'Longest wait of a sample for the disk, 50ms to 10s. A power cut costs what was read since; each commit wears the flash.',
    ),
};
export const telemetryHead = keys({ ...telemetryKeys, retention: later }, 'What happens to samples.');
const telemetry = keys(telemetryKeys, 'What happens to samples on the gateway.');

const points = 'Points of the class by name.';
/** The whole file, for the JSON Schema; `parseConfig` goes through it piece by piece. */
export const gatewayFile = keys(
  {
    gateway,
    mqtt: mqtt.optional(),
    coap: listen.optional().describe('Where pushing CoAP devices reach the gateway.'),
    zones: named(zone, 'Zones by name; "gateway" is built in.').optional(),
    network: network.optional(),
    conduits: z
      .array(conduit, { error: 'write a list of conduits' })
      .optional()
      .describe('What may flow between zones. What no conduit allows is denied.'),
    classes: named(
      z.discriminatedUnion(
        'protocol',
        [
          keys({ ...modbusKeys, points: named(modbusPoint, points) }, 'A class of Modbus devices.'),
          keys({ ...coapKeys, points: named(coapPoint, points) }, 'A class of CoAP devices.'),
        ],
        { error: ({ input }) => (isMapping(input) ? undefined : CLASS) },
      ),
      'Classes by name: what devices of a kind have in common.',
    ).optional(),
    devices: named(device, 'Devices by name.').optional(),
    telemetry: telemetry.optional(),
    segmentation: segmentation.optional(),
  },
  'Configuration of a Sluice gateway.',
);

/** Sections of the file, in their order. */
export const SECTIONS = Object.keys(gatewayFile.shape);
