import t from 'tap';
import { holds } from '../../src/netd/bring.ts';
import { delta } from '../../src/segmentation/delta.ts';
import { isRecord, text } from '../../src/segmentation/field.ts';
import { marksOf } from '../../src/segmentation/port-guard.ts';
import { recordsOf } from '../../src/segmentation/shadow-path.ts';
import { noRules } from '../support/namespace.ts';
import { afterSteps } from './listed.ts';
import { rulesOf } from './policies.ts';

// A device that comes or goes, in front of many others, changes what is its own and nothing else.

const skip = noRules();
const MANY = 60;

const two = (value: number): string => value.toString(16).padStart(2, '0');
const macOf = (i: number): string => `02:00:00:01:00:${two(i)}`;
/** Every other one has an address of IPv6. */
const hostOf = (i: number): string => (i % 2 === 0 ? `10.20.10.${i + 30}` : `[fd00:10::${i + 30}]`);
const device = (i: number): string =>
  `  press-${i}: { class: press, at: "modbus-tcp://${hostOf(i)}", mac: "${macOf(i)}" }\n`;

/** Those with these numbers, in this order. */
const plant = (numbers: readonly number[]): string => `
gateway: { id: plant7 }
zones:
  control: { interface: br0, subnet: [10.20.10.0/24, "fd00:10::/64"], address: [10.20.10.1/24, "fd00:10::1/64"], ports: [lan1, lan2] }
  uplink: { interface: eth0 }
classes:
  press: { zone: control, protocol: modbus, points: { running: { at: "coil:0" } } }
conduits:
  - { from: uplink, to: control, allow: [tcp/4840], because: "OPC UA" }
devices:
${numbers.map(device).join('')}
segmentation: { mode: enforce, management: { zone: uplink, from: [10.1.2.0/24], allow: [ssh] } }
`;

/** What a change says of elements, each as `add family set element`. */
function elementsOf(document = '{"nftables":[]}'): string[] {
  const parsed: unknown = JSON.parse(document);
  return recordsOf(isRecord(parsed) ? parsed['nftables'] : []).flatMap((command) =>
    Object.entries(command).flatMap(([deed, what]) => {
      const element = isRecord(what) && isRecord(what['element']) ? what['element'] : {};
      const elem: readonly unknown[] = Array.isArray(element['elem']) ? element['elem'] : [];
      return elem.map(
        (one) => `${deed} ${text(element['family'])} ${text(element['name'])} ${JSON.stringify(one)}`,
      );
    }),
  );
}

const marks = (macs: readonly string[]): unknown => Object.fromEntries(marksOf(macs.map((mac) => ({ mac }))));

const others = Array.from({ length: MANY }, (_, i) => i + 1);

for (const [number, family] of [
  [0, 4],
  [MANY + 1, 6],
] as const) {
  t.test(`a device with IPv${family} in front of ${MANY} others`, { skip }, async (t) => {
    const [without, withIt] = [rulesOf(plant(others)), rulesOf(plant([number, ...others]))];
    const [few, many] = afterSteps(t, [[without], [withIt]]);
    const [comes, goes] = [delta(few, withIt), delta(many, without)];

    const [grown, shrunk] = afterSteps(t, [
      [without, comes.document ?? ''],
      [withIt, goes.document ?? ''],
    ]);

    t.equal(holds(grown, withIt), true);
    t.equal(holds(shrunk, without), true);
    const isOwn = (line: string): boolean =>
      [macOf(number), hostOf(number).replaceAll(/[[\]]/g, ''), `fe80::ff:fe01:${number.toString(16)}"`].some(
        (own) => line.includes(own),
      );
    for (const [{ document, replaces, changes }, deed] of [
      [comes, 'add'],
      [goes, 'delete'],
    ] as const) {
      const elements = elementsOf(document);
      t.same(replaces, []);
      t.ok(
        elements.some((line) => line.startsWith(`${deed} inet `)),
        'of the packets',
      );
      t.ok(
        elements.some((line) => line.startsWith(`${deed} bridge s_about `)),
        'of the ports',
      );
      t.same(
        elements.filter((line) => !line.startsWith(deed) || !isOwn(line)),
        [],
        'nothing of another device',
      );
      t.equal(changes.chains, 1, 'the only rule that knows addresses is written again, as a whole');
      t.equal(changes.objectsAdded + changes.objectsDeleted, 0);
    }
  });
}

t.test('a mark is of the device, and of no other', async (t) => {
  const macs = ['02:00:00:00:10:21', '06:00:00:00:10:21', '0a:00:00:00:10:21', '02:00:00:00:10:23'];

  t.same(marks(macs.slice(0, 1)), { '02:00:00:00:10:21': 0x1021 });
  const all = { '02:00:00:00:10:21': 0x1021, '06:00:00:00:10:21': 0x1022, '0a:00:00:00:10:21': 0x1024, '02:00:00:00:10:23': 0x1023 }; // biome-ignore format: one line reads better
  t.same(marks(macs), all, 'four bytes that two share are not the mark of both, nor of a third');
  t.same(marks(macs.toReversed()), all, 'in whatever order they stand');
  t.same(marks(['02:00:00:00:00:00', '02:11:ff:ff:ff:ff', '06:11:ff:ff:ff:ff']), {
    '02:00:00:00:00:00': 1,
    '02:11:ff:ff:ff:ff': 0xffff_ffff,
    '06:11:ff:ff:ff:ff': 2,
  });
});
