import * as fc from 'fast-check';
import { parseConfig } from '../../src/config/parse.ts';
import { contradictionsOf } from '../../src/segmentation/declare.ts';

// Any gateway.yaml with guarded conduits, as somebody writes one: both grades, units, registers in every notation, devices
// that share an address, other conduits around them. Of the conduits that were drawn those stay that do not contradict
// the ones before them.

const HEAD = (mode: string): string => `
gateway: { id: plant }
zones:
  control: { vlan: 10, subnet: [10.20.10.0/24, "fd00:10::/64"] }
  metering: { vlan: 20, subnet: 10.20.20.0/24 }
  supervision: { vlan: 40, subnet: [10.20.40.0/24, "fd00:40::/64"] }
  office: { vlan: 50, subnet: "fd00:50::/64" }
  uplink: { interface: eth0 }
classes:
  press: { zone: control, protocol: modbus, points: { p: { at: "coil:0" } } }
  pump: { zone: control, protocol: modbus, points: { p: { at: "holding:0:uint16" } } }
  meter: { zone: metering, protocol: modbus, points: { p: { at: "input:0:uint16" } } }
devices:
  press-1: { class: press, at: "modbus-tcp://10.20.10.11?unit=1" }
  press-2: { class: press, at: "modbus-tcp://10.20.10.11?unit=2" }
  press-6: { class: press, at: "modbus-tcp://[fd00:10::16]" }
  pump-1: { class: pump, at: "modbus-tcp://10.20.10.21?unit=3" }
  pump-2: { class: pump, at: "modbus-tcp://10.20.10.22:1502" }
  meter-1: { class: meter, at: "modbus-tcp://10.20.20.11" }
  meter-2: { class: meter, at: "modbus-tcp://10.20.20.12" }
segmentation: { ${mode}, management: { zone: uplink, from: [192.0.2.0/24], allow: [ssh] } }
conduits:`;

const some = (...values: readonly string[]): fc.Arbitrary<string> =>
  fc.subarray([...values], { minLength: 1 }).map((list) => `[${list.join(', ')}]`);
const RANGES = ['"coil:*"', '"coil:7"', '"holding:0-99"', '"400001-400010"'];
const guard: fc.Arbitrary<string> = fc
  .record(
    {
      units: some('1', '3-10', '255'),
      read: some(...RANGES, '"input:*"', '"discrete:0-15"', '"300001"'),
      write: some(...RANGES),
    },
    { requiredKeys: [] },
  )
  .map(
    (keys) =>
      `{ ${Object.entries(keys)
        .map(([key, value]) => `${key}: ${value}`)
        .join(', ')} }`,
  );

const FROM = ['supervision', 'office', 'uplink', 'metering'];
const PARTS: Readonly<Record<string, readonly string[]>> = {
  control: ['press', 'pump', 'press-1', 'press-2', 'press-6', 'pump-1', 'pump-2'],
  metering: ['meter', 'meter-1', 'meter-2'],
  supervision: ['10.20.40.5', '10.20.40.64/26', '"fd00:40::5"'],
  office: ['"fd00:50::8/125"'],
  uplink: ['192.0.2.7', '198.51.100.0/24', '"2001:db8::/64"'],
};
const partOf = (zone: string, end: string): fc.Arbitrary<string> =>
  fc.option(some(...(PARTS[zone] ?? [])), { nil: '' }).map((part) => (part === '' ? '' : `${end}: ${part}`));

const kind: fc.Arbitrary<string> = fc.oneof(
  fc.constant('allow: [modbus-tcp/read]'),
  fc.constant('allow: [modbus-tcp/read], guard: { grade: filtered }'),
  fc.constant('allow: [modbus-tcp/read, https], guard: { grade: filtered }'),
  guard.map((one) => `allow: [modbus-tcp, icmp], guard: ${one}`),
  fc.constantFrom('allow: [modbus-tcp]', 'allow: [https, icmp]', 'allow: [tcp/400-600]'),
);

const conduit: fc.Arbitrary<string> = fc
  .tuple(fc.constantFrom(...FROM), fc.constantFrom('control', 'control', 'metering'), kind)
  .filter(([from, to]) => from !== to)
  .chain(([from, to, what]) =>
    fc.tuple(partOf(from, 'from'), partOf(to, 'to')).map((parts) => {
      const only = parts.filter((part) => part !== '').join(', ');
      return `  - { from: ${from}, to: ${to}, ${what}, because: why${only === '' ? '' : `, only: { ${only} }`} }`;
    }),
  );

const isRight = (yaml: string): boolean =>
  'config' in parseConfig(yaml, '/plant/gateway.yaml', 'gateway.yaml', contradictionsOf);

export const anyGuardedPlant: fc.Arbitrary<string> = fc
  .tuple(
    fc.constantFrom('mode: enforce', 'mode: observe', 'mode: observe, observe-until: 2099-01-01'),
    fc.array(conduit, { minLength: 1, maxLength: 6 }),
  )
  .map(([mode, all]) => {
    const right = all.reduce<readonly string[]>((kept, one) => {
      const more = [...kept, one];
      return isRight([HEAD(mode), ...more].join('\n')) ? more : kept;
    }, []);
    return [HEAD(mode), ...(right.length === 0 ? ['  []'] : right)].join('\n');
  });
