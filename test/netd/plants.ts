/** A plant as it was confirmed, and as it is changed: each has what the other does not have. */
const HEAD = `
gateway: { id: plant7, data: ./data }
zones:
  metering:    { vlan: 20, subnet: [10.20.20.0/24, "fd00:20::/64"] }
  control:     { vlan: 10, subnet: 10.20.10.0/24 }
  supervision: { vlan: 40, subnet: [10.20.40.0/24, "fd00:40::/64"] }
  uplink:      { interface: eth0 }
segmentation: { mode: enforce, confirm-within: 10m, management: { zone: uplink, from: [10.1.2.0/24], allow: [ssh] } }
`;

export const BEFORE = `${HEAD}
conduits:
  - { from: supervision, to: control, allow: [modbus-tcp], because: "HMI reads the presses" }
  - { from: supervision, to: control, allow: [udp/6000-6010], because: "panel" }
`;

export const AFTER = `${HEAD}
conduits:
  - { from: supervision, to: control, allow: [modbus-tcp, tcp/4840], because: "HMI reads the presses" }
  - { from: supervision, to: metering, allow: [udp/5000-5010], because: "energy" }
`;
