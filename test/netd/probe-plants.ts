// Plants that are probed.

/** A press and a siren, and whoever watches them. */
export const plant = (mode: string): string => `
gateway: { id: plant }
coap: { listen: "10.20.10.1:5683" }
zones:
  control: { vlan: 10, subnet: [10.20.10.0/24, "fd00:10::/64"] }
  supervision: { vlan: 40, subnet: [10.20.40.0/24, "fd00:40::/64"] }
conduits:
  - { from: supervision, to: control, allow: [modbus-tcp, udp/5000-5010, icmp], because: "HMI" }
  - { from: supervision, to: gateway, allow: [https, icmp], because: "page" }
  - { from: control, to: supervision, allow: [udp/514], because: "syslog" }
classes:
  press: { zone: control, protocol: modbus, points: { p: { at: "coil:0" } } }
  siren: { zone: control, protocol: coap, points: { p: { push: true } } }
devices:
  press-1: { class: press, at: "modbus-tcp://10.20.10.21" }
  siren-1: { class: siren, at: "coap://10.20.10.51" }
segmentation: { mode: ${mode}, management: { zone: supervision, from: [10.20.40.9], allow: [ssh] } }
`;

/** A pump whose requests are looked into one by one, and a press whose packets are; and an office that may neither. */
export const guarded = (mode: string): string => `
gateway: { id: plant }
zones:
  control: { vlan: 10, subnet: [10.20.10.0/24, "fd00:10::/64"] }
  supervision: { vlan: 40, subnet: [10.20.40.0/24, "fd00:40::/64"] }
  office: { vlan: 50, subnet: 10.20.50.0/24 }
conduits:
  - { from: office, to: control, allow: [https, udp/5000-5010], because: "pages and cameras", only: { to: [press] } }
  - from: supervision
    to: control
    allow: [modbus-tcp]
    because: "HMI tunes the pumps"
    only: { to: [pump] }
    guard: { read: ["holding:0-9"], write: ["holding:5"] }
  - { from: supervision, to: control, allow: [modbus-tcp/read], because: "the historian", only: { to: [press] }, guard: { grade: filtered } }
classes:
  pump: { zone: control, protocol: modbus, points: { p: { at: "holding:0:uint16" } } }
  press: { zone: control, protocol: modbus, points: { p: { at: "coil:0" } } }
devices:
  pump-1: { class: pump, at: "modbus-tcp://10.20.10.21" }
  pump-2: { class: pump, at: "modbus-tcp://[fd00:10::22]?unit=3" }
  press-1: { class: press, at: "modbus-tcp://10.20.10.31" }
segmentation: { mode: ${mode}, management: { zone: supervision, from: [10.20.40.9], allow: [ssh] } }
`;

/** Two presses at ports of their own, a stranger behind the second of them, and an office that anybody may use. */
export const bridged = (mode: string): string => `
gateway: { id: plant }
coap: { listen: "10.20.10.1:5683" }
zones:
  control: { interface: br0, subnet: [10.20.10.0/24, "fd00:10::/64"], address: [10.20.10.1/24, "fd00:10::1/64"], ports: [lan1, lan2] }
  office: { interface: br1, subnet: 10.20.30.0/24, ports: [lan3], unknown-macs: allow }
  supervision: { vlan: 40, subnet: [10.20.40.0/24, "fd00:40::/64"] }
conduits:
  - { from: supervision, to: control, allow: [tcp/4840, udp/5005], because: "OPC UA" }
  - { from: control, to: supervision, allow: [udp/514], because: "syslog" }
classes:
  press: { zone: control, protocol: coap, points: { p: { push: true } } }
devices:
  press-1: { class: press, at: "coap://10.20.10.21", mac: "02:00:00:00:10:21", port: lan1 }
  press-2: { class: press, at: "coap://10.20.10.22", mac: "02:00:00:00:10:22", port: lan2 }
segmentation: { mode: ${mode}, management: { zone: supervision, from: [10.20.40.9], allow: [ssh] } }
`;
