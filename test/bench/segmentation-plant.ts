// A plant in which one host of the supervision asks each device of a field for itself, and the same policy as others
// write it down: a rule for each device, and a rich rule of firewalld for each device.

export const HMI = '10.40.0.5';
export const PORT = 6_100;
export const FIELD = { interface: 'vlan20', subnet: '10.20.0.0/16' } as const;
export const SUPERVISION = { interface: 'vlan40', subnet: '10.40.0.0/16' } as const;

/** Every other address, so that no two devices are a range. */
const addressOf = (i: number): string => `10.20.${(2 + 2 * i) >> 8}.${(2 + 2 * i) & 255}`;

export const addressesOf = (devices: number): string[] =>
  Array.from({ length: devices }, (_, i) => addressOf(i));

/** `without` leaves the last device out: the smallest change there is. */
export function gatewayYaml(devices: number, { without = 0 }: { readonly without?: number } = {}): string {
  return `
gateway: { id: plant7, data: ./data }
zones:
  field:       { vlan: 20, subnet: ${FIELD.subnet} }
  supervision: { vlan: 40, subnet: ${SUPERVISION.subnet} }
  uplink:      { interface: eth0 }
segmentation: { mode: enforce, management: { zone: uplink, from: [10.1.2.0/24], allow: [ssh] } }
conduits:
  - { from: supervision, to: field, allow: [udp/${PORT}], only: { from: [${HMI}], to: [meter] }, because: "HMI reads the meters" }
classes:
  meter: { zone: field, protocol: modbus, every: 1m, points: { power: { at: "input:0:float32" } } }
devices:
${addressesOf(devices - without)
  .map((address, i) => `  meter-${i}: { class: meter, at: "modbus-tcp://${address}" }\n`)
  .join('')}`;
}

/** What a script that knows nothing of maps writes: a rule for each device. */
export function linearRules(devices: number): string {
  const rules = addressesOf(devices).map(
    (address) =>
      `    iifname "${SUPERVISION.interface}" oifname "${FIELD.interface}" ip saddr ${HMI} ip daddr ${address} udp dport ${PORT} accept\n`,
  );
  return `table inet naive {
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    ct state invalid drop
${rules.join('')}  }
}
`;
}

/** What conntrack costs is no part of the policy: rules that ask for a state and then let everything pass. */
export const STATE_ONLY = `table inet none {
  chain forward {
    type filter hook forward priority filter; policy accept;
    ct state invalid drop
  }
}
`;

const xml = (body: string): string => `<?xml version="1.0" encoding="utf-8"?>\n${body}\n`;

/** Files below firewalld's folder. */
export function firewalldFiles(devices: number): Readonly<Record<string, string>> {
  const zone = (name: string): string => xml(`<zone target="DROP"><interface name="${name}"/></zone>`);
  const rules = addressesOf(devices).map(
    (address) =>
      `<rule family="ipv4"><source address="${HMI}"/><destination address="${address}"/><port port="${PORT}" protocol="udp"/><accept/></rule>\n`,
  );
  return {
    'firewalld.conf': 'DefaultZone=drop\nFirewallBackend=nftables\nCleanupOnExit=no\nIPv6_rpfilter=no\n',
    'zones/field.xml': zone(FIELD.interface),
    'zones/supervision.xml': zone(SUPERVISION.interface),
    'policies/hmi.xml': xml(
      `<policy target="DROP" priority="-1"><ingress-zone name="supervision"/><egress-zone name="field"/>\n${rules.join('')}</policy>`,
    ),
  };
}

const ZONES = 20;
const ASKED = 10; // devices of a zone that those of the others ask
const OTHERS = 40;

const conduit = (from: number, to: number, service: string): string =>
  `  - { from: z${from}, to: z${to}, allow: [${service}], only: { from: [asked-${from}], to: [asked-${to}] }, because: "a reason" }\n`;
const devicesOf = (zone: number): string[] =>
  Array.from({ length: ASKED + OTHERS }, (_, i) => {
    const className = i < ASKED ? 'asked' : 'other';
    return `  d-${zone}-${i}: { class: ${className}-${zone}, at: "modbus-tcp://10.${zone}.0.${2 + 2 * i}" }\n`;
  });

/** A thousand devices in twenty zones, and four hundred conduits: for each pair of zones, and twenty more. */
export function conduitsYaml({ without = 0 }: { readonly without?: number } = {}): string {
  const zones = Array.from({ length: ZONES }, (_, zone) => zone);
  const points = 'points: { power: { at: "input:0:float32" } }';
  return `
gateway: { id: plant7, data: ./data }
zones:
${zones.map((zone) => `  z${zone}: { vlan: ${100 + zone}, subnet: 10.${zone}.0.0/24 }\n`).join('')}  uplink: { interface: eth0 }
segmentation: { mode: enforce, management: { zone: uplink, from: [192.168.2.0/24], allow: [ssh] } }
conduits:
${zones.flatMap((from) => zones.filter((to) => to !== from).map((to) => conduit(from, to, 'tcp/502'))).join('')}${zones
  .map((from) => conduit(from, (from + 1) % ZONES, 'tcp/4840'))
  .join('')}classes:
${zones
  .flatMap((zone) =>
    ['asked', 'other'].map(
      (name) => `  ${name}-${zone}: { zone: z${zone}, protocol: modbus, every: 1m, ${points} }\n`,
    ),
  )
  .join('')}devices:
${zones.flatMap(devicesOf).slice(without).join('')}`;
}
