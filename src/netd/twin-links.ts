import { formatAddress } from '../config/network.ts';
import type { TwinHost, TwinPlant } from '../segmentation/twin-hosts.ts';

// Cables, addresses and routes of a twin, as lines for ip -batch.

/** The port that packets have whose route has the smallest size of IPv4 (68 bytes): the first has 48 of the datagram. */
export const SMALL_PORT = 2_049;
const SMALLEST = 68;
const SMALL_TABLE = 99;

export const hostText = (family: 4 | 6, address: bigint): string =>
  `${formatAddress(family, address)}/${family === 4 ? 32 : 128}`;

export const familiesOf = ({
  v4,
  v6,
}: {
  readonly v4: bigint | undefined;
  readonly v6: bigint | undefined;
}): (readonly [4 | 6, bigint])[] => [
  ...(v4 === undefined ? [] : [[4, v4] as const]),
  ...(v6 === undefined ? [] : [[6, v6] as const]),
];

const KNOCKS = '127.128.0.1/10';

/**
 * Each interface of a zone is a cable to its only host, or a switch whose ports do not talk to one another; or a bridge
 * with the access ports that the file names.
 */
export function gatewayLinks(
  { hosts, gateway, listening }: TwinPlant,
  pid: (host: TwinHost) => number,
): string[] {
  // A guard knocks at its own listeners; other addresses of the machine itself may be those of devices.
  const lines: string[] = ['link set lo up', 'addr flush dev lo', `addr add ${KNOCKS} dev lo`];
  for (const [name, own] of gateway) {
    const there = hosts.filter((host) => host.interface === name);
    if (there.length === 0) continue;
    const isPlugged = there.some(({ plug }) => plug !== undefined);
    const cable = (port: string, host: TwinHost): string =>
      `link add ${port} type veth peer name eth netns ${pid(host)}`;
    const apart = (port: string, host: TwinHost, bridge: string): string[] => [
      cable(port, host),
      `link set ${port} master ${bridge}`,
      `link set ${port} type bridge_slave isolated on`,
      `link set ${port} up`,
    ];
    const portOf = (host: TwinHost): string => `twin-${hosts.indexOf(host)}`;
    if (isPlugged) lines.push(...accessPorts(name, there, { cable, apart, portOf }));
    else if (there.length > 1)
      lines.push(`link add ${name} type bridge`, ...there.flatMap((host) => apart(portOf(host), host, name)));
    else lines.push(...there.map((host) => cable(name, host)));
    lines.push(`link set ${name} up`);
    for (const [family, address] of familiesOf(own))
      lines.push(`addr add ${hostText(family, address)} dev ${name} nodad`);
    for (const host of there) {
      for (const [family, address] of familiesOf(host))
        lines.push(`route add ${hostText(family, address)} dev ${name}`);
    }
  }
  const [first] = [...gateway.keys()].filter((name) => hosts.some((host) => host.interface === name));
  const elsewhere = [
    ...listening.v4.map((one) => hostText(4, one)),
    ...listening.v6.map((one) => hostText(6, one)),
  ];
  const has = new Set(
    [...gateway.values()].flatMap(familiesOf).map(([family, address]) => hostText(family, address)),
  );
  for (const address of elsewhere)
    if (!has.has(address)) lines.push(`addr add ${address} dev ${first} nodad`);
  return lines;
}

interface Wiring {
  readonly cable: (port: string, host: TwinHost) => string;
  readonly apart: (port: string, host: TwinHost, bridge: string) => string[];
  readonly portOf: (host: TwinHost) => string;
}

/** The bridge of a zone, with its access ports; behind one that several share is a switch of the field. */
function accessPorts(bridge: string, there: readonly TwinHost[], { cable, apart, portOf }: Wiring): string[] {
  const lines = [`link add ${bridge} type bridge`];
  for (const [port, hosts] of Map.groupBy(there, ({ plug }) => plug?.port ?? '')) {
    const [first, ...more] = hosts;
    if (first === undefined || port === '') continue;
    if (more.length === 0) lines.push(cable(port, first));
    else {
      const field = `field-${portOf(first)}`;
      lines.push(
        `link add ${field} type bridge`,
        `link add ${port} type veth peer name up-${portOf(first)}`,
        `link set up-${portOf(first)} master ${field}`,
        `link set up-${portOf(first)} up`,
        ...hosts.flatMap((host) => apart(portOf(host), host, field)),
        // It carries frames for others, and the gateway is no host of it.
        `link set ${field} arp off`,
        `link set ${field} up`,
      );
    }
    lines.push(`link set ${port} master ${bridge}`, `link set ${port} up`);
  }
  return lines;
}

export function hostLinks(host: TwinHost, { gateway }: TwinPlant): string[] {
  const there = gateway.get(host.interface);
  const lines = [
    ...(host.plug === undefined ? [] : [`link set eth address ${host.plug.mac}`]),
    'link set eth up',
  ];
  for (const [family, address] of familiesOf(host)) {
    const router = family === 4 ? there?.v4 : there?.v6;
    lines.push(`addr add ${hostText(family, address)} dev eth nodad`);
    if (router === undefined) continue;
    const way = `via ${formatAddress(family, router)} dev eth onlink`;
    lines.push(`route add default ${way}`);
    if (family === 6) continue;
    lines.push(`rule add ipproto udp sport ${SMALL_PORT} lookup ${SMALL_TABLE}`);
    lines.push(`route add default ${way} mtu ${SMALLEST} table ${SMALL_TABLE}`);
  }
  return lines;
}
