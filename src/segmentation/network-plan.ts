import type { Config, Zone } from '../config/config.ts';
import { GATEWAY, ROUTER_LINK_LOCAL } from '../config/zones.ts';

/** The links that the file wants, as data: the one source of the units and of what is compared with the kernel. */
export interface NetworkPlan {
  /** Undefined where VLANs lie on a trunk by themselves. */
  readonly bridge: string | undefined;
  readonly ports: readonly PlannedPort[];
  readonly vlans: readonly PlannedVlan[];
  /** Interfaces of zones that somebody else sees to, whatever they are. */
  readonly others: readonly string[];
}

/** An interface that carries VLANs: a trunk, or a port of the bridge. */
export interface PlannedPort {
  readonly name: string;
  /** VLAN of an access port: what comes in belongs to it, and goes out without a tag. */
  readonly access: number | undefined;
  readonly tagged: readonly number[];
}

export interface PlannedVlan {
  readonly name: string;
  readonly id: number;
  /** The trunk, or the bridge. */
  readonly parent: string;
  readonly addresses: readonly string[];
  /** Do packets of other zones pass the gateway to it or from it? */
  readonly forwards: boolean;
}

/** No links where the file has no section `network`. */
export function networkPlan(config: Config): NetworkPlan {
  const { network, zones } = config;
  const others = zones.flatMap((zone) => zone.interface ?? []);
  if (network === undefined) return { bridge: undefined, ports: [], vlans: [], others };
  const parent = network.kind === 'trunk' ? network.trunk : network.name;
  const vlans = zones.flatMap((zone) => vlanOf(zone, parent, config));
  const ids = vlans.map(({ id }) => id);
  const trunks = network.kind === 'trunk' ? [network.trunk] : network.trunks;
  const access = zones.flatMap(({ ports, vlan }) =>
    ports.map((name) => ({ name, access: vlan, tagged: [] })),
  );
  return {
    bridge: network.kind === 'trunk' ? undefined : network.name,
    ports: [...access, ...trunks.map((name) => ({ name, access: undefined, tagged: ids }))],
    vlans,
    others,
  };
}

function vlanOf(
  { name, vlan, interface: own, addresses }: Zone,
  parent: string,
  config: Config,
): PlannedVlan[] {
  // Where a zone names an interface, somebody else sees to that.
  if (vlan === undefined || own !== undefined) return [];
  const routes = addresses.some((address) => address.includes(':'));
  const forwards = config.conduits.some(
    ({ from, to }) => from !== GATEWAY && to !== GATEWAY && (from === name || to === name),
  );
  const all = routes ? [...addresses, `${ROUTER_LINK_LOCAL}/64`] : addresses;
  return [{ name: `vlan${vlan}`, id: vlan, parent, addresses: all, forwards }];
}
