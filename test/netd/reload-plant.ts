/** A plant whose supervision may ask the control on some ports: by subnet, and by address. */
const HEAD = `
gateway: { id: plant7 }
zones:
  control:     { vlan: 10, subnet: 10.20.10.0/24 }
  supervision: { vlan: 40, subnet: 10.20.40.0/24 }
  uplink:      { interface: eth0 }
segmentation: { mode: enforce, management: { zone: uplink, from: [10.1.2.0/24], allow: [ssh] } }
conduits:
  - { from: supervision, to: control, allow: [udp/6000-6010], because: "by subnet: an interval map" }
  - { from: supervision, to: control, allow: [udp/6100], only: { from: [10.20.40.5], to: [10.20.10.9] }, because: "a hash map" }
`;

/** `count` elements more in each of the maps that the packets are looked up in. */
function more(count: number): string {
  const conduits = Array.from(
    { length: count },
    (_, i) =>
      `  - { from: supervision, to: control, allow: [tcp/${2_000 + i}, udp/${8_000 + 20 * i}-${8_009 + 20 * i}], only: { from: [10.20.40.${i + 100}], to: [10.20.10.${i + 100}] }, because: "more" }\n`,
  );
  return conduits.join('');
}

const ICMP = `  - { from: supervision, to: control, allow: [icmp], because: "a rule" }\n`;

export const NARROW = HEAD;
/** Two hundred elements more, and a rule more in their chain. */
export const WIDE = `${HEAD}${more(100)}${ICMP}`;
/** Two elements less than that. */
export const NEARLY = `${HEAD}${more(99)}${ICMP}`;

export const FROM = { interface: 'vlan40', subnet: '10.20.40.0/24' } as const;
export const TO = { interface: 'vlan10', subnet: '10.20.10.0/24' } as const;
export const SENDER = '10.20.40.5';
export const RECEIVER = '10.20.10.9';
/** All rules of the plant let the first pass, by their interval map, and the second, by their hash map; none the third. */
export const PORTS = { interval: 6_000, hash: 6_100, denied: 7_000 } as const;

const device = (kind: string, zone: number, host: number): string =>
  `  ${kind}-${host}: { class: ${kind}, at: "modbus-tcp://10.20.${zone}.${host}" }`;
const hosts = (kind: string, zone: number, first: number, many: number): string[] =>
  Array.from({ length: many }, (_, i) => device(kind, zone, first + 2 * i));

/** So many readers and 110 presses, two of which send and receive: with four, pairs of addresses; with five, two sets. */
export const readers = (count: number): string => `${HEAD.slice(0, HEAD.indexOf('conduits:'))}conduits:
  - { from: supervision, to: control, only: { from: [reader], to: [press] }, allow: [udp/6000-6010, udp/6100], because: "from many to many" }
classes:
  reader: { zone: supervision, protocol: modbus, points: { p: { at: "coil:0" } } }
  press: { zone: control, protocol: modbus, points: { p: { at: "coil:0" } } }
devices:
${[...hosts('reader', 40, 5, count), ...hosts('press', 10, 9, 110)].join('\n')}
`;
