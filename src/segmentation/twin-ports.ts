import type { Policy } from './policy.ts';
import type { BoundHost, PortGuard } from './port-guard.ts';
import type { Cell, CellKind } from './twin-cells.ts';
import type { TwinHost, TwinPlant } from './twin-hosts.ts';

// The access ports of a twin: who sits where, and what each says of itself there, true or not. What shall become of it
// follows from the file alone.

/** Where a host of a zone with access ports is plugged in. */
export interface Plug {
  readonly port: string;
  readonly mac: string;
  /** Nobody knows its hardware address, and the port is closed to such. */
  readonly isMute: boolean;
}

/** Locally administered, and of nobody in a file. */
const STRANGER = '02:53:4c:55:00:';

/** `ports` are those of each zone, by its name. */
export function plugged(
  hosts: readonly TwinHost[],
  { guard }: Policy,
  ports: ReadonlyMap<string, readonly string[]>,
): TwinHost[] {
  if (guard === undefined) return [...hosts];
  return hosts.map((host, i) => {
    const plug = plugOf(host, { guard, ports: ports.get(host.zone) ?? [], number: i });
    return plug === undefined ? host : { ...host, plug };
  });
}

function plugOf(
  host: TwinHost,
  {
    guard,
    ports,
    number,
  }: { readonly guard: PortGuard; readonly ports: readonly string[]; readonly number: number },
): Plug | undefined {
  const last = ports.at(-1);
  if (last === undefined) return undefined;
  const bound = guard.hosts.find((one) => isAt(one, host));
  const [own] = (bound?.ports ?? []).filter((port) => ports.includes(port));
  if (bound !== undefined && own !== undefined) return { port: own, mac: bound.mac, isMute: false };
  const isMute = guard.ports.find(({ name }) => name === last)?.unknown === 'deny';
  return { port: last, mac: `${STRANGER}${number.toString(16).padStart(2, '0')}`, isMute };
}

const isAt = ({ v4, v6 }: BoundHost, host: TwinHost): boolean =>
  (host.v4 !== undefined && v4.includes(host.v4)) || (host.v6 !== undefined && v6.includes(host.v6));

/** What each host at a port says to the gateway by ARP: its own address, that of a neighbour, and as a neighbour. */
export function claimCells({ guard }: Policy, { hosts, gateway }: TwinPlant): Cell[] {
  if (guard === undefined) return [];
  return hosts.flatMap((host): Cell[] => {
    const { plug, v4 } = host;
    const target = gateway.get(host.interface)?.v4;
    if (plug === undefined || v4 === undefined || target === undefined) return [];
    const cell = (kind: CellKind, source: bigint, hardware: string, declared: boolean): Cell => ({
      kind,
      family: 4,
      from: host.name,
      source,
      to: 'gateway',
      target,
      protocol: 'udp',
      port: DISCARD,
      sourcePort: undefined,
      declared,
      claim: { hardware, own: plug.mac },
    });
    const own = cell('own arp', v4, plug.mac, !plug.isMute);
    const victim = hosts.find(
      (other) =>
        other.interface === host.interface &&
        other.name !== host.name &&
        other.v4 !== undefined &&
        guard.hosts.some(({ mac }) => mac === other.plug?.mac),
    );
    if (victim?.plug === undefined || victim.v4 === undefined) return [own];
    return [
      own,
      cell('foreign arp', victim.v4, plug.mac, false),
      cell('foreign hardware', v4, victim.plug.mac, false),
    ];
  });
}

/** RFC 863: whoever asks for it has to find the gateway first, and that is what counts. */
const DISCARD = 9;
