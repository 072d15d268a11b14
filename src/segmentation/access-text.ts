import { serviceName, type Traffic } from '../config/services.ts';
import type { Access } from './access.ts';

/** `supervision/* may reach control/press-1 tcp/502 modbus-tcp (conduits[0]: HMI reads the presses)`. */
export function accessText({ from, to, traffic, path, because, more }: Access, verb: string): string {
  const place = path === undefined ? '' : ` (${path}: ${because})`;
  return `${from} ${verb} ${to} ${servicesText(traffic)}${place}${more === true ? ', and more' : ''}`;
}

export function servicesText(traffic: Access['traffic']): string {
  return traffic === undefined ? 'by any protocol' : [...new Set(traffic.map(trafficText))].join(', ');
}

function trafficText(traffic: Traffic): string {
  const { protocol, ports } = traffic;
  const name = serviceName(traffic);
  if (protocol === 'icmp' || protocol === 'icmpv6') return 'icmp';
  return name === undefined ? `${protocol}/${portsText(ports)}` : `${protocol}/${portsText(ports)} ${name}`;
}

function portsText([low, high]: Traffic['ports']): string {
  if (low === 0 && high === 65_535) return 'any';
  return low === high ? String(low) : `${low}-${high}`;
}
