import { nearest } from './nearest.ts';
import { describe } from './problem.ts';

/** What packets a service is made of: its first one; what answers belongs to it. */
export interface Traffic {
  readonly protocol: 'tcp' | 'udp' | 'icmp' | 'icmpv6';
  /** Destination ports, both inclusive; for ICMP, which is the echo request alone, without meaning. */
  readonly ports: readonly [low: number, high: number];
}

const on = (protocol: 'tcp' | 'udp', number: number): Traffic => ({ protocol, ports: [number, number] });
export const [DNS, NTP] = [53, 123] as const;
export const ANY_PORT = [0, 65_535] as const;

/** Names that a conduit may use (DESIGN 5.1), with the ports registered for them. */
const MEANING = {
  'modbus-tcp': [on('tcp', 502)],
  'modbus-tcp/read': [on('tcp', 502)],
  coap: [on('udp', 5683)],
  coaps: [on('udp', 5684)],
  mqtts: [on('tcp', 8883)],
  https: [on('tcp', 443)],
  ssh: [on('tcp', 22)],
  dns: [on('udp', DNS), on('tcp', DNS)],
  ntp: [on('udp', NTP)],
  icmp: [
    { protocol: 'icmp', ports: ANY_PORT },
    { protocol: 'icmpv6', ports: ANY_PORT },
  ],
} as const satisfies Readonly<Record<string, readonly Traffic[]>>;

const isNamed = (text: string): text is keyof typeof MEANING => Object.hasOwn(MEANING, text);
export const SERVICES = Object.keys(MEANING).filter(isNamed);

export const SERVICE = new RegExp(`^(?:${SERVICES.join('|')}|(?:tcp|udp)/\\d{1,5}(?:-\\d{1,5})?)$`);

/** What is wrong with a service of a conduit, as [found, fix]; undefined where nothing is. */
export function serviceProblem(text: string): readonly [string, string] | undefined {
  const [, low, high] = /^(?:tcp|udp)\/(\d{1,5})(?:-(\d{1,5}))?$/.exec(text) ?? [];
  if (low === undefined) {
    if (isNamed(text)) return undefined;
    const meant = nearest(text, SERVICES);
    const known = `use ${SERVICES.join(', ')}, or ports such as tcp/4840 or udp/5000-5010`;
    return [`unknown service ${describe(text)}`, meant === undefined ? known : `did you mean ${meant}?`];
  }
  const ports = high === undefined ? [Number(low)] : [Number(low), Number(high)];
  if (ports.some((port) => port < 1 || port > 65_535))
    return [`port out of range in ${describe(text)}`, 'use ports from 1 to 65535'];
  if ((ports[0] ?? 0) > (ports[1] ?? 65_535))
    return [`a range that runs backwards, ${describe(text)}`, 'put the lower port first'];
  return undefined;
}

/** What a service that is right stands for in packets. */
export function trafficOf(service: string): readonly Traffic[] {
  if (isNamed(service)) return MEANING[service];
  const [, protocol, low = '0', high = low] = /^(tcp|udp)\/(\d+)(?:-(\d+))?$/.exec(service) ?? [];
  return [{ protocol: protocol === 'udp' ? 'udp' : 'tcp', ports: [Number(low), Number(high)] }];
}

/** What people call these ports; undefined where they have no name. */
export function serviceName({ protocol, ports: [low, high] }: Traffic): string | undefined {
  if (protocol === 'icmp' || protocol === 'icmpv6') return 'icmp';
  return SERVICES.find((name) =>
    MEANING[name].some((one) => one.protocol === protocol && one.ports[0] === low && one.ports[1] === high),
  );
}
