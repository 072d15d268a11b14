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

/** Each interface of a zone is a cable to its only host, or a switch whose ports do not talk to one another. */
export function gatewayLinks(
  { hosts, gateway, listening }: TwinPlant,
  pid: (host: TwinHost) => number,
): string[] {
  const lines: string[] = [];
  for (const [name, own] of gateway) {
    const there = hosts.filter((host) => host.interface === name);
    if (there.length === 0) continue;
    const shared = there.length > 1;
    if (shared) lines.push(`link add ${name} type bridge`);
    for (const host of there) {
      const port = shared ? `twin-${hosts.indexOf(host)}` : name;
      lines.push(`link add ${port} type veth peer name eth netns ${pid(host)}`);
      if (!shared) continue;
      lines.push(
        `link set ${port} master ${name}`,
        `link set ${port} type bridge_slave isolated on`,
        `link set ${port} up`,
      );
    }
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

export function hostLinks(host: TwinHost, { gateway }: TwinPlant): string[] {
  const there = gateway.get(host.interface);
  const lines = ['link set eth up'];
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
