import type { Endpoint } from './config.ts';
import { type Complaint, complaint } from './complaint.ts';
import { nearest } from './nearest.ts';
import { describe } from './problem.ts';
import { type Address, notADevice, parseAddress } from './network.ts';

/** Schemes of DESIGN 5.1 with their default ports. */
const SCHEMES = {
  'modbus-tcp': 502, // registered for Modbus (Messaging Guide V1.0b, 4.4.1.2)
  'modbus-rtu-tcp': undefined,
  'modbus-rtu': undefined,
  coap: 5683, // RFC 7252, 6.1
  coaps: 5684, // RFC 7252, 6.2
} as const;
type Scheme = keyof typeof SCHEMES;

/** Schemes that are valid but have no driver in this version. Refused, because a device must not be ignored silently. */
const NOT_YET: ReadonlySet<Scheme> = new Set<Scheme>(['modbus-rtu', 'coaps']);

const BAUDS = [1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200];
/** Addresses of a serial line (Modbus over Serial Line V1.02, 2.2); 0 would be a broadcast, which nobody answers. */
const SERIAL_UNITS = [1, 247] as const;
/** Over TCP, 0 and 255 mean the device itself (Messaging Guide V1.0b, 4.4.2.2). */
const TCP_UNITS = [0, 255] as const;

const EXAMPLES = 'write modbus-tcp://10.20.20.11?unit=1 or coap://10.20.20.31';

export interface DeviceAddress {
  readonly endpoint: Endpoint;
  /** Undefined for a serial line. */
  readonly address: Address | undefined;
}

/** `modbus-tcp://host[:502]?unit=1`, `coap://host[:5683]` and their kin. `inFlight` comes from the class. */
export function parseDeviceAddress(text: string, inFlight: number): DeviceAddress | Complaint {
  const [, name = '', rest = ''] = /^([a-z][a-z0-9+.-]*):(.*)$/is.exec(text) ?? [];
  if (!isScheme(name)) {
    if (name === '' || !rest.startsWith('/')) return complaint(`${describe(text)} has no scheme`, EXAMPLES);
    const meant = nearest(name, Object.keys(SCHEMES));
    return complaint(
      `unknown scheme ${describe(name)}`,
      meant === undefined ? EXAMPLES : `did you mean ${meant}?`,
    );
  }
  const [place = '', ...query] = rest.split('?');
  if (query.length > 1) return complaint('two question marks', EXAMPLES);
  const options = parseQuery(query[0], name);
  if (!(options instanceof Map)) return options;
  const parsed = name === 'modbus-rtu' ? serial(place, options) : overNetwork(name, place, options, inFlight);
  if ('found' in parsed) return parsed;
  if (NOT_YET.has(name)) {
    return complaint(
      `${name} is not supported by this version yet`,
      'take the device out of the file for now',
    );
  }
  return parsed;
}

function overNetwork(
  scheme: Exclude<Scheme, 'modbus-rtu'>,
  place: string,
  options: ReadonlyMap<string, string>,
  inFlight: number,
): DeviceAddress | Complaint {
  if (!place.startsWith('//')) return complaint(`no // after "${scheme}:"`, EXAMPLES);
  const authority = place.slice(2).replace(/\/$/, '');
  if (authority.includes('/'))
    return complaint('a path in the address of a device', 'paths belong to the points of its class');
  const where = parseHostAndPort(authority, SCHEMES[scheme]);
  if ('found' in where) return where;
  const never = notADevice(where.address);
  if (never !== undefined)
    return complaint(`${where.host} ${never}`, 'use the unicast address of the device');
  const { host, port, address } = where;
  if (scheme === 'coap' || scheme === 'coaps') return { endpoint: { protocol: scheme, host, port }, address };
  const unit = parseUnit(options.get('unit'), scheme === 'modbus-tcp' ? TCP_UNITS : SERIAL_UNITS);
  if (typeof unit === 'object') return unit;
  return { endpoint: { protocol: scheme, host, port, unit, inFlight }, address };
}

function serial(path: string, options: ReadonlyMap<string, string>): DeviceAddress | Complaint {
  if (!/^\/dev\/[\w./-]+$/.test(path) || path.includes('..')) {
    return complaint(
      `"${path}" is no serial device`,
      'write modbus-rtu:/dev/ttyUSB0?baud=19200&parity=even&unit=3',
    );
  }
  const baud = Number(options.get('baud') ?? 19_200);
  if (!BAUDS.includes(baud)) return complaint(`baud ${options.get('baud')}`, `use ${BAUDS.join(', ')}`);
  const parity = options.get('parity') ?? 'even';
  if (parity !== 'none' && parity !== 'even' && parity !== 'odd')
    return complaint(`parity ${parity}`, 'use none, even or odd');
  const unit = parseUnit(options.get('unit'), SERIAL_UNITS);
  if (typeof unit === 'object') return unit;
  return { endpoint: { protocol: 'modbus-rtu', path, baud, parity, unit }, address: undefined };
}

/** `127.0.0.1:8883`, `[fd00::1]:5683`. The host is an IP address, so that the firewall can be proven. */
export function parseHostAndPort(
  text: string,
  defaultPort?: number,
): { readonly host: string; readonly port: number; readonly address: Address } | Complaint {
  if (/^[^[\]]*:[^[\]]*:/.test(text)) {
    return complaint(
      `${describe(text)} without brackets`,
      'write IPv6 addresses in brackets, as in [fd00::11]:502',
    );
  }
  const [, bracketed, plain, digits] = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::(.*))?$/.exec(text) ?? [];
  const written = bracketed ?? plain;
  if (written === undefined) {
    return complaint(
      `${describe(text)} is no host and port`,
      'write an IP address and a port, such as 10.20.20.11:502',
    );
  }
  if (written === '') return complaint('no host', 'write an IP address');
  const address = parseAddress(written);
  if (address === undefined || (address.family === 6) !== (bracketed !== undefined)) {
    return complaint(
      `"${written}" is no IP address`,
      /^[\d.]+$/.test(written)
        ? 'write four numbers from 0 to 255 without leading zeros'
        : 'write the IP address instead of a name: it is what the firewall can be proven with',
    );
  }
  if (digits === undefined && defaultPort === undefined)
    return complaint(`no port after ${text}`, `write the port, as in ${text}:4001`);
  const port =
    digits === undefined ? (defaultPort ?? 0) : Number(/^\d{1,5}$/.test(digits) ? digits : Number.NaN);
  if (!(port >= 1 && port <= 65_535)) return complaint(`port "${digits}"`, 'use a port from 1 to 65535');
  return { host: address.text, port, address };
}

function parseQuery(query: string | undefined, scheme: Scheme): Map<string, string> | Complaint {
  const known =
    scheme === 'modbus-rtu' ? ['baud', 'parity', 'unit'] : scheme.startsWith('modbus') ? ['unit'] : [];
  const options = new Map<string, string>();
  if (query === undefined) return options;
  for (const part of query.split('&')) {
    const [key = '', value] = part.split('=', 2);
    if (!known.includes(key)) {
      const meant = nearest(key, known);
      const may =
        known.length === 0 ? `a ${scheme} address has no options` : `${scheme} knows ${known.join(', ')}`;
      return complaint(
        `unknown option ${describe(key)}`,
        meant === undefined ? may : `did you mean ${meant}? ${may}`,
      );
    }
    if (options.has(key)) return complaint(`${key} is given twice`, 'keep one of them');
    options.set(key, value ?? '');
  }
  return options;
}

function parseUnit(text: string | undefined, [low, high]: readonly [number, number]): number | Complaint {
  if (text === undefined) return 1;
  const unit = /^\d{1,3}$/.test(text) ? Number(text) : Number.NaN;
  return unit >= low && unit <= high
    ? unit
    : complaint(`unit ${describe(text)}`, `use a unit from ${low} to ${high}`);
}

function isScheme(name: string): name is Scheme {
  return Object.hasOwn(SCHEMES, name);
}
