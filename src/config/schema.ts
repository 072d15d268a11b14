import { z } from 'zod';
import { DEADBAND_EXAMPLES, PERCENT } from './deadband.ts';
import { isMapping } from './checked.ts';
import { DEFAULTS } from './defaults.ts';
import { DURATION, DURATION_EXAMPLES } from './duration.ts';
import { EVENT_PATTERN, TELEMETRY_PATTERN } from './pattern.ts';
import { SERVICE, SERVICES } from './services.ts';
import { MOMENT, MOMENT_EXAMPLES } from './moment.ts';
import { SIZE, SIZE_EXAMPLES } from './size.ts';

// The shape of gateway.yaml, from which both the checks and gateway.schema.json come. The message of a leaf is the
// second half of a problem: what to write instead. What needs a second place of the file is checked elsewhere.

/** Names become levels of topics, rule names and file names. */
const NAME = /^[a-z][a-z0-9-]{0,30}$/;
export const NAME_FIX = 'write up to 31 of a-z, 0-9 and "-", beginning with a letter';
export const isName = (text: string): boolean => NAME.test(text);

/** Topic levels, records and units go into every message. */
const MAX_UNIT_LENGTH = 32;
const MAX_TEXT_LENGTH = 1_000;

const text = (pattern: RegExp, fix: string) =>
  z.string({ error: `write ${fix}` }).regex(pattern, { error: `write ${fix}` });
const name = z.string({ error: NAME_FIX }).regex(NAME, { error: NAME_FIX });
/** A name that stands for something declared elsewhere. */
const nameOf = (what: string) => text(NAME, `the name of ${what}`);
const duration = text(DURATION, DURATION_EXAMPLES);
const size = text(SIZE, SIZE_EXAMPLES);
const number = z.number({ error: 'write a number' });
const yesNo = z.boolean({ error: 'write true or false' });
const file = z
  .string({ error: 'write the path of a file, relative to this one' })
  .min(1, { error: 'write the path of a file' })
  .refine((path) => !/\p{C}/u.test(path), { error: 'write the path of a file, without control characters' });
const moment = text(MOMENT, MOMENT_EXAMPLES);
const hostAndPort = text(
  /^.+:\d{1,5}$/,
  'an IP address and a port, such as 127.0.0.1:8883 or [fd00::1]:8883',
);
const oneOf = <const T extends readonly [string, ...string[]]>(values: T) =>
  z.enum(values, { error: `use ${values.join(', ')}` });
const whole = (low: number, high: number) => {
  const error = `use a whole number from ${low} to ${high}`;
  return z.int({ error }).min(low, { error }).max(high, { error });
};

/** A mapping that knows its keys. The message of an unknown key lists them, for the search of the nearest. */
function keys<T extends z.core.$ZodLooseShape>(shape: T, description: string) {
  const known = Object.keys(shape).join(' ');
  return z
    .strictObject(shape, {
      error: ({ code }) =>
        code === 'unrecognized_keys' ? known : `write a mapping with ${known.replaceAll(' ', ', ')}`,
    })
    .describe(description);
}

const named = <T extends z.core.SomeType>(value: T, description: string) =>
  z.record(name, value, { error: 'write a mapping of names' }).describe(description);

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

/** Pieces that are checked one by one, so that one wrong leaf does not hide what is wrong elsewhere. */
const later = z.unknown().optional();

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

const SUBNET = 'a subnet such as 10.20.20.0/24 or fd00:20::/64';
const SUBNET_PATTERN = /^[0-9a-fA-F.:]+\/\d{1,3}$/;
/** Judged one by one, so that one wrong subnet does not hide what is wrong with its neighbours. */
const subnets = z
  .array(z.string({ error: `write ${SUBNET}` }).meta({ pattern: SUBNET_PATTERN.source }), {
    error: 'write a list of subnets such as 10.20.20.0/24 or fd00:20::/64',
  })
  .min(1, { error: `name ${SUBNET}, or leave it out` });

/** IFNAMSIZ of the kernel is 16 with its closing zero. */
const INTERFACE = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,14}$/;
const interfaceName = (example: string) =>
  text(INTERFACE, `the name of a network interface, at most 15 characters, such as ${example}`);
const portNames = (example: string) =>
  z
    .array(interfaceName(example), {
      error: `write a list of network interfaces such as [${example}]`,
    })
    .min(1, { error: 'name at least one network interface, or leave it out' });

const ADDRESS = 'an address with the length of its subnet, such as 10.20.10.1/24';
const addresses = z
  .array(z.string({ error: `write ${ADDRESS}` }).meta({ pattern: SUBNET_PATTERN.source }), {
    error: 'write a list of addresses such as 10.20.10.1/24',
  })
  .min(1, { error: `name ${ADDRESS}, or leave it out` });

export const zone = keys(
  {
    vlan: whole(1, 4094).optional().describe('VLAN of the zone, 1 to 4094 (IEEE 802.1Q).'),
    subnet: z
      .union([text(SUBNET_PATTERN, SUBNET), subnets], {
        error: `write ${SUBNET}`,
      })
      .optional()
      .describe('Addresses of the zone, IPv4 or IPv6, such as 10.20.20.0/24; a list where it has several.'),
    interface: interfaceName('eth0')
      .optional()
      .describe('Network interface of the zone, where it has one of its own.'),
    address: z
      .union([text(SUBNET_PATTERN, ADDRESS), addresses], { error: `write ${ADDRESS}` })
      .optional()
      .describe(
        'Addresses of the gateway in the zone, each with the length of its subnet; a list where it has several.',
      ),
    ports: portNames('lan1')
      .optional()
      .describe(
        'Access ports of the zone on a bridge: what is plugged in there belongs to the zone, untagged.',
      ),
    'unknown-macs': oneOf(['deny', 'allow'])
      .optional()
      .describe(
        'May hardware addresses that no device of the file has send into its ports? Left out: deny where every device of the zone has a mac, allow where none has.',
      ),
    purdue: z
      .literal([0, 1, 2, 3, 3.5, 4, 5], { error: 'use 0, 1, 2, 3, 3.5, 4 or 5' })
      .optional()
      .describe('Level of the Purdue model; 3.5 is the DMZ.'),
    'security-level': whole(0, 4).optional().describe('Target security level, IEC 62443-3-3.'),
    within: oneOf(['deny', 'allow'])
      .default(DEFAULTS.within)
      .describe('May its devices reach one another where their packets pass the gateway?'),
  },
  'Devices with the same security need: a VLAN, a subnet or an interface.',
);

const services = z
  .array(
    z
      .string({ error: 'write the name of a service' })
      .meta({ pattern: SERVICE.source })
      .describe(`${SERVICES.join(', ')}, or ports such as tcp/4840 or udp/5000-5010.`),
    { error: 'write a list of services such as [modbus-tcp]' },
  )
  .min(1, { error: 'name at least one service; without a conduit nothing flows anyway' });

const SELECTION = 'write a list of devices, classes or addresses, such as [press-1, 10.20.20.11]';
const selection = z
  .array(z.string({ error: 'write the name of a device or a class, an address or a subnet' }), {
    error: SELECTION,
  })
  .min(1, { error: SELECTION })
  .optional();
const only = keys(
  {
    from: selection.describe(
      'Those that open connections: devices, classes, addresses or subnets of the zone.',
    ),
    to: selection.describe('Those that take them: devices, classes, addresses or subnets of the zone.'),
  },
  'Narrows a conduit to a part of its zones.',
);

const UNITS = 'write a list of units such as [1, 3-10]';
const RANGES = 'write a list of ranges such as ["holding:0-99", "input:*"]';
/** Judged one by one, in guard.ts. */
const ranges = z
  .array(
    z.string({ error: RANGES }).meta({
      pattern: '^(?:(?:coil|discrete|input|holding):(?:\\*|\\d+(?:-\\d+)?)|[0134]\\d{5}(?:-[0134]\\d{5})?)$',
    }),
    { error: RANGES },
  )
  .optional();
export const guard = keys(
  {
    grade: oneOf(['enforced', 'filtered'])
      .default(DEFAULTS.guardGrade)
      .describe(
        'enforced: connections end in the gateway, which asks the device itself. filtered: packets are looked at one by one, which is weaker: whoever builds segments by hand writes all the same.',
      ),
    units: z
      .array(z.union([whole(0, 255), z.string({ error: UNITS })], { error: UNITS }), { error: UNITS })
      .min(1, { error: UNITS })
      .optional()
      .describe('Unit ids that may be asked, such as [1, 3-10]. Left out, those of the devices.'),
    read: ranges.describe(
      'What may be read: table:low-high or table:*, zero-based. Left out, everything; an empty list means nothing.',
    ),
    write: ranges.describe('What may be written, likewise. Left out, nothing.'),
  },
  'What of Modbus may pass, request by request.',
);

const conduitKeys = {
  from: nameOf('a zone, or gateway').describe('Zone that opens connections, or gateway.'),
  to: nameOf('a zone, or gateway').describe('Zone that takes them, or gateway.'),
  allow: services.describe('Services that may flow.'),
  because: z
    .string({ error: 'write down why these flows are needed' })
    .regex(/\S/, { error: 'write down why these flows are needed' })
    .max(MAX_TEXT_LENGTH, { error: `use at most ${MAX_TEXT_LENGTH} characters` })
    .describe('Why these flows are needed; whoever reviews the rules reads it.'),
  only: only.optional(),
  'observe-until': moment
    .optional()
    .describe(
      'Until then (2026-12-31, or 2026-12-31T06:00Z; UTC) what nothing allows between these two zones in this direction passes, logged and counted; from then on it is denied.',
    ),
  guard: guard.optional(),
};
const CONDUIT = 'Declared, justified flows from one zone to another. What no conduit allows is denied.';
export const conduitHead = keys({ ...conduitKeys, guard: later }, CONDUIT);
const conduit = keys(conduitKeys, CONDUIT);

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

export const management = keys(
  {
    zone: nameOf('a zone').describe('Zone from which the gateway is managed.'),
    from: z
      .array(z.string({ error: 'write an address or a subnet' }), {
        error: 'write a list of addresses or subnets, such as [10.1.2.0/24]',
      })
      .min(1, { error: 'name at least one address or subnet, such as 10.1.2.0/24' })
      .describe('Addresses and subnets of those who manage it.'),
    allow: services.describe('Services of the gateway that they may use, such as ssh and https.'),
  },
  'Who always reaches the gateway itself, whatever the conduits say. Needed where the mode is enforce.',
);

const bridge = keys(
  {
    name: interfaceName('br-plant').describe('Name of the bridge.'),
    trunk: portNames('eth1')
      .optional()
      .describe('Ports that carry every VLAN with its tag, to switches and other bridges.'),
  },
  'A bridge that keeps VLANs apart, with the access ports of the zones.',
);
export const network = keys(
  {
    trunk: interfaceName('eth1')
      .optional()
      .describe('Network interface that carries the VLANs of the zones with their tags.'),
    bridge: bridge.optional(),
  },
  'How the VLANs of the zones come into being: on a trunk or on a bridge.',
);

const MUST_WORK = 'write a list of polls, pushes, upstream, management or names of conduits';
const segmentationKeys = {
  mode: oneOf(['off', 'observe', 'enforce'])
    .default(DEFAULTS.mode)
    .describe('off, observe (count what would be denied) or enforce.'),
  'confirm-within': duration
    .default(DEFAULTS.confirmWithin)
    .describe('New rules are rolled back unless confirmed within this time.'),
  'observe-until': moment
    .optional()
    .describe('In mode observe: from then on (2026-12-31, or 2026-12-31T06:00Z; UTC) the mode is enforce.'),
  'must-work': z
    .array(z.string({ error: MUST_WORK }).regex(/^[a-z][a-z0-9-]{0,120}$/, { error: MUST_WORK }), {
      error: MUST_WORK,
    })
    .optional()
    .describe(
      'Flows that have to carry new connections after a change, or it is rolled back: polls, pushes, upstream, management, or names of conduits such as conduit-supervision-control-0.',
    ),
  'must-work-within': duration
    .optional()
    .describe('How long they have for that, 5s to 4m; confirm-within, at most 4m, where left out.'),
  heal: z
    .boolean({ error: 'write true or false' })
    .default(DEFAULTS.heal)
    .describe(
      'What another program changed in the tables of Sluice is put right at once (docs/segmentation.md, Drift); false only tells it.',
    ),
  management: management.optional(),
};
export const segmentationHead = keys(
  { ...segmentationKeys, management: later },
  'Network rules of the plant.',
);
const segmentation = keys(segmentationKeys, 'Network rules of the plant.');

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
