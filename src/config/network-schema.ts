import { z } from 'zod';
import { DEFAULTS } from './defaults.ts';
import { SERVICE, SERVICES } from './services.ts';
import { interfaceName, text, nameOf, duration, moment, oneOf, whole, keys, later } from './leaves.ts';

// The part of the shape of gateway.yaml that says who may reach whom: zones, conduits, network and segmentation.

/** A justification goes into the audit, and into every plan. */
const MAX_TEXT_LENGTH = 1_000;

const SUBNET = 'a subnet such as 10.20.20.0/24 or fd00:20::/64';
const SUBNET_PATTERN = /^[0-9a-fA-F.:]+\/\d{1,3}$/;
/** Judged one by one, so that one wrong subnet does not hide what is wrong with its neighbours. */
const subnets = z
  .array(z.string({ error: `write ${SUBNET}` }).meta({ pattern: SUBNET_PATTERN.source }), {
    error: 'write a list of subnets such as 10.20.20.0/24 or fd00:20::/64',
  })
  .min(1, { error: `name ${SUBNET}, or leave it out` });

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

const services = (example: string, empty: string) =>
  z
    .array(
      z
        .string({ error: 'write the name of a service' })
        .meta({ pattern: SERVICE.source })
        .describe(`${SERVICES.join(', ')}, or ports such as tcp/4840 or udp/5000-5010.`),
      { error: `write a list of services such as ${example}` },
    )
    .min(1, { error: empty });

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
  allow: services(
    '[modbus-tcp]',
    'name at least one service; without a conduit nothing flows anyway',
  ).describe('Services that may flow.'),
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
export const conduit = keys(conduitKeys, CONDUIT);

export const management = keys(
  {
    zone: nameOf('a zone').describe('Zone from which the gateway is managed.'),
    from: z
      .array(z.string({ error: 'write an address or a subnet' }), {
        error: 'write a list of addresses or subnets, such as [10.1.2.0/24]',
      })
      .min(1, { error: 'name at least one address or subnet, such as 10.1.2.0/24' })
      .describe('Addresses and subnets of those who manage it.'),
    allow: services('[ssh, https]', 'name at least one service, such as ssh').describe(
      'Services of the gateway that they may use, such as ssh and https.',
    ),
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
export const segmentation = keys(segmentationKeys, 'Network rules of the plant.');
