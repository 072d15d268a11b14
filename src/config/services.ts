import { nearest } from './nearest.ts';
import { describe } from './problem.ts';

/** Names that a conduit may use (DESIGN 5.1); what they mean in packets belongs to segmentation. */
export const SERVICES = [
  'modbus-tcp',
  'coap',
  'coaps',
  'mqtts',
  'https',
  'ssh',
  'dns',
  'ntp',
  'icmp',
] as const;

export const SERVICE = new RegExp(`^(?:${SERVICES.join('|')}|(?:tcp|udp)/\\d{1,5}(?:-\\d{1,5})?)$`);

/** What is wrong with a service of a conduit, as [found, fix]; undefined where nothing is. */
export function serviceProblem(text: string): readonly [string, string] | undefined {
  const [, low, high] = /^(?:tcp|udp)\/(\d{1,5})(?:-(\d{1,5}))?$/.exec(text) ?? [];
  if (low === undefined) {
    if (SERVICES.some((name) => name === text)) return undefined;
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
