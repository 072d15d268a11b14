import { formatAddress, parseAddress } from '../config/network.ts';
import { isRecord, text } from './field.ts';

/** What the kernel has, as far as the plan asks for it. */
export interface LiveLink {
  readonly name: string;
  readonly kind: string;
  /** The bridge that it is a port of. */
  readonly master: string;
  /** Of a VLAN: what it lies on. */
  readonly parent: string;
  readonly id: number | undefined;
  /** Kind of the tags, of a VLAN and of a bridge. */
  readonly protocol: string;
  readonly filters: boolean;
  /** It talks to other bridges about loops, and closes ports because of what they say. */
  readonly spans: boolean;
  /** VLAN of what comes in without a tag at a bridge that says nothing else; 0 is none. */
  readonly defaultVlan: number;
  readonly up: boolean;
  /** With the length of the subnet, canonical; without what the kernel made by itself. */
  readonly addresses: readonly string[];
  readonly vlans: readonly LiveVlan[];
  /** Of a VLAN: which packets that come in there are led to other interfaces. */
  readonly forwards: readonly Family[];
}

export type Family = 'v4' | 'v6';

export interface LiveVlan {
  readonly id: number;
  readonly pvid: boolean;
  readonly untagged: boolean;
}

export type LiveNetwork = ReadonlyMap<string, LiveLink>;

/** The usual tags (802.1Q), as the kernel says it, and where it says nothing. */
export const PLAIN_TAGS = '802.1Q';

/** What the kernel tells: links, VLANs and addresses in the words of `ip -j -d link`, `bridge -j vlan show`, `ip -j addr`. */
export interface Told {
  readonly links: string;
  readonly bridge: string;
  readonly addresses: string;
  readonly forwards: (link: string) => readonly Family[];
}

/** Throws where something is no JSON. */
export function liveNetwork({ links, bridge, addresses, forwards }: Told): LiveNetwork {
  const vlans = new Map(recordsOf(bridge).map((one) => [text(one['ifname']), vlansOf(one['vlans'])]));
  const known = new Map(
    recordsOf(addresses).map((one) => [text(one['ifname']), addressesOf(one['addr_info'])]),
  );
  return new Map(
    recordsOf(links).map((link) => {
      const name = text(link['ifname']);
      const info = record(link['linkinfo']);
      const kind = text(info['info_kind']);
      const data = record(info['info_data']);
      const protocol = text(data[kind === 'bridge' ? 'vlan_protocol' : 'protocol']);
      const flags: readonly unknown[] = Array.isArray(link['flags']) ? link['flags'] : [];
      return [
        name,
        {
          name,
          kind,
          master: text(link['master']),
          parent: text(link['link']),
          id: typeof data['id'] === 'number' ? data['id'] : undefined,
          protocol: protocol === '' ? PLAIN_TAGS : protocol,
          filters: data['vlan_filtering'] === 1,
          spans: typeof data['stp_state'] === 'number' && data['stp_state'] !== 0,
          defaultVlan: typeof data['vlan_default_pvid'] === 'number' ? data['vlan_default_pvid'] : 0,
          up: flags.includes('UP'),
          addresses: known.get(name) ?? [],
          vlans: vlans.get(name) ?? [],
          forwards: kind === 'vlan' ? forwards(name) : [],
        },
      ];
    }),
  );
}

const record = (json: unknown): Readonly<Record<string, unknown>> => (isRecord(json) ? json : {});

function recordsOf(json: string): Readonly<Record<string, unknown>>[] {
  const parsed: unknown = JSON.parse(json.trim() === '' ? '[]' : json);
  return Array.isArray(parsed) ? parsed.filter(isRecord) : [];
}

function vlansOf(json: unknown): LiveVlan[] {
  const list: readonly unknown[] = Array.isArray(json) ? json : [];
  return list.filter(isRecord).flatMap(({ vlan, vlanEnd, flags }) => {
    if (typeof vlan !== 'number') return [];
    const words: readonly unknown[] = Array.isArray(flags) ? flags : [];
    const last = typeof vlanEnd === 'number' ? vlanEnd : vlan;
    return Array.from({ length: last - vlan + 1 }, (_, i) => ({
      id: vlan + i,
      pvid: words.includes('PVID'),
      untagged: words.includes('Egress Untagged'),
    }));
  });
}

function addressesOf(json: unknown): string[] {
  const list: readonly unknown[] = Array.isArray(json) ? json : [];
  return list.filter(isRecord).flatMap(({ local, prefixlen }) => {
    const address = parseAddress(text(local));
    return address === undefined
      ? []
      : [`${formatAddress(address.family, address.value)}/${String(prefixlen)}`];
  });
}
