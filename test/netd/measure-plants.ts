/** A plant whose one conduit, from supervision to control, allows these ports. */
export const plant = (ports: string, mode = 'enforce', more = ''): string => `
gateway: { id: plant7, data: ./data }
zones:
  control:     { vlan: 10, subnet: [10.20.10.0/24, "fd00:10::/64"] }
  supervision: { vlan: 40, subnet: [10.20.40.0/24, "fd00:40::/64"] }
  uplink:      { interface: eth9 }
segmentation: { mode: ${mode}, confirm-within: 10m, management: { zone: uplink, from: [10.1.2.0/24], allow: [ssh] }${more} }
conduits:
  - { from: supervision, to: control, allow: [${ports}], because: "test" }
`;

/** The same, managed by the host in supervision, at ports that no rights are needed for. */
export const managedPlant = (ports: string): string =>
  plant(ports).replace(/management: [^}]*/, (all) =>
    all
      .replace('zone: uplink', 'zone: supervision')
      .replace('10.1.2.0/24', '10.20.40.9, "fd00:40::9"')
      .replace('ssh', 'tcp/4005, udp/4005'),
  );

/** The same with a device in control, whose hardware address is that of the host there. */
export const plantWithPress = (address: string): string => `${plant('udp/4001')}
classes:
  press: { zone: control, protocol: modbus, points: { p: { at: "coil:0" } } }
devices:
  press-1: { class: press, at: "modbus-tcp://${address}", mac: "02:00:00:00:10:09" }
`;
