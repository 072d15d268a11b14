import t from 'tap';
import { type Cell, twinCells } from '../../src/segmentation/twin-cells.ts';
import type { Cells } from '../../src/segmentation/twin-choice.ts';
import { twinPlant } from '../../src/segmentation/twin-hosts.ts';
import { policyOf } from './policies.ts';

// What is sent through a twin: everything in a small plant, a fair part of it in a large one.

const cellsOf = (yaml: string): Cells => {
  const policy = policyOf(yaml);
  return twinCells(policy, twinPlant(policy));
};

/** An office that has nothing to do with the pump behind the guard. */
const office = (mode: string): string => `
gateway: { id: plant }
zones:
  control: { interface: p1, subnet: [10.20.10.0/24, "fd00:10::/64"] }
  supervision: { interface: p2, subnet: [10.20.40.0/24, "fd00:40::/64"] }
  office: { interface: p3, subnet: [10.20.50.0/24, "fd00:50::/64"] }
conduits:
  - { from: supervision, to: control, allow: [modbus-tcp], because: "HMI", guard: { read: ["holding:0-9"] } }
  - { from: supervision, to: control, allow: [udp/5000-5010], because: "cameras" }
  - { from: office, to: control, allow: [https], because: "page" }
classes:
  pump: { zone: control, protocol: modbus, points: { p: { at: "holding:0:uint16" } } }
devices:
  pump-1: { class: pump, at: "modbus-tcp://10.20.10.21" }
segmentation: { mode: ${mode}, management: { zone: supervision, from: [10.20.40.9], allow: [ssh] } }
`;

const services = ({ cells }: Cells, from: string, to: string, kind: Cell['kind']): string[] =>
  cells
    .filter((cell) => cell.from === from && cell.to === to && cell.kind === kind && cell.family === 4)
    .map(({ protocol, port, sourcePort }) => `${protocol}/${sourcePort ?? port}`)
    .toSorted();

t.test('what the file names anywhere is tried everywhere, and so are the ports of guards', async (t) => {
  const cells = cellsOf(office('enforce'));

  for (const to of ['control/pump-1', 'supervision/nobody', 'gateway']) {
    const tried = services(cells, 'office/nobody', to, 'new');
    for (const one of [
      'tcp/502',
      'udp/5000',
      'udp/5010',
      'tcp/443',
      'tcp/22',
      'tcp/20480',
      'tcp/24575',
      'icmp/0',
    ])
      t.ok(tried.includes(one), `${one} to ${to}`);
  }
  const { guard } = policyOf(office('enforce')).flows.find((flow) => flow.guard !== undefined) ?? {};
  const [listener] = guard?.listeners ?? [];
  t.ok(
    services(cells, 'office/nobody', 'gateway', 'new').includes(`tcp/${listener?.port}`),
    'where it listens',
  );
  t.equal(cells.leftOut.length, 0);
  t.equal(cells.all, cells.cells.length);
});

t.test('where everything passes, nobody asks at a port where a guard hangs up', async (t) => {
  const { guard } = policyOf(office('observe')).flows.find((flow) => flow.guard !== undefined) ?? {};
  const [listener] = guard?.listeners ?? [];

  const tried = services(cellsOf(office('observe')), 'office/nobody', 'gateway', 'new');

  t.ok(tried.includes('tcp/20480') && !tried.includes(`tcp/${listener?.port}`));
});

t.test('every service that is named answers unasked, each to a port of its own', async (t) => {
  const { cells } = cellsOf(office('enforce'));

  const back = cells.filter(
    ({ from, to, kind, family }) =>
      from === 'control/pump-1' && to === 'supervision/nobody' && kind === 'answer unasked' && family === 4,
  );
  t.strictSame(back.map(({ protocol, sourcePort }) => `${protocol}/${sourcePort}`).toSorted(), [
    'tcp/22',
    'tcp/443',
    'tcp/502',
    'udp/5000',
    'udp/5010',
  ]);
  t.equal(new Set(back.map(({ port }) => port)).size, back.length);
});

const texts = ({ cells }: Cells): string[] =>
  cells.map(({ kind, source, target, protocol, port }) => `${kind} ${source} ${target} ${protocol}/${port}`);

t.test('between zones that are observed everything passes, but from nowhere else', async (t) => {
  const yaml = office('enforce').replace('because: "page"', 'because: "page", observe-until: 2100-01-01');

  const { cells } = cellsOf(yaml);

  const observed = cells.filter((cell) => cell.observed === true);
  t.ok(observed.length > 0);
  t.strictSame(
    observed.filter(
      ({ from, to, declared }) => declared || zone(from) !== 'office' || zone(to) !== 'control',
    ),
    [],
  );
  t.strictSame(
    cells.filter(
      ({ from, to, declared, kind, observed }) =>
        zone(from) === 'office' &&
        zone(to) === 'control' &&
        !declared &&
        kind !== 'foreign source' &&
        observed !== true,
    ),
    [],
  );
});

const zone = (cell: string): string => cell.split('/')[0] ?? '';

/** Zones that all talk to one another over two services and both families: more is declared than can be sent. */
const mesh = (count: number): string => {
  const names = Array.from({ length: count }, (_, i) => `z${i + 1}`);
  return [
    'gateway: { id: g }',
    'zones:',
    ...names.map(
      (name, i) => `  ${name}: { interface: p${i + 1}, subnet: [10.20.${i + 1}.0/24, "fd00:${i + 1}::/64"] }`,
    ),
    'conduits:',
    ...names.flatMap((from) =>
      names
        .filter((to) => to !== from)
        .map((to) => `  - { from: ${from}, to: ${to}, allow: [modbus-tcp, udp/5000], because: "all" }`),
    ),
    'segmentation: { mode: enforce, management: { zone: z1, from: [10.20.1.9], allow: [ssh] } }',
  ].join('\n');
};

t.test('in a large plant every pair of zones gets its share, and the rest is told', async (t) => {
  const yaml = mesh(30);
  const result = cellsOf(yaml);

  const left = result.leftOut.reduce((sum, { count }) => sum + count, 0);
  t.ok(left > 0);
  t.equal(result.all, result.cells.length + left);
  const lost = result.leftOut.filter(({ declared }) => declared);
  t.ok(lost.length > 0, 'also what is declared, where that is too much');
  t.strictSame(result.untried, []);
  const ways = (isMeant: (cell: Cell) => boolean): number =>
    new Set(
      result.cells
        .filter(isMeant)
        .map(({ from, to }) => `${zone(from)} ${zone(to)}`)
        .filter((way) => /^(z\d+) (?!\1$)z\d+$/.test(way)),
    ).size;
  for (const family of [4, 6])
    t.equal(
      ways((cell) => cell.declared && cell.family === family),
      30 * 29,
      `IPv${family} everywhere`,
    );
  t.equal(
    ways((cell) => !cell.declared),
    30 * 29,
    'and something that is not declared',
  );
  t.ok(JSON.stringify(texts(cellsOf(yaml))) === JSON.stringify(texts(result)), 'the same the next time');
});

/** Two zones and the rest of the world, with as many hosts as there are classes. */
const classes = (count: number): string => `
gateway: { id: g }
zones:
  control: { interface: p1, subnet: 10.20.0.0/16 }
  sup: { interface: p2, subnet: 10.30.0.0/16 }
  uplink: { interface: eth0 }
conduits:
  - { from: sup, to: control, allow: [modbus-tcp, udp/5000-5010], because: "HMI" }
classes:
${Array.from({ length: count }, (_, i) => `  c${i}: { zone: control, protocol: modbus, points: { r: { at: "coil:0" } } }`).join('\n')}
devices:
${Array.from({ length: count }, (_, i) => `  d${i}: { class: c${i}, at: "modbus-tcp://10.20.1.${i + 1}" }`).join('\n')}
segmentation: { mode: enforce, management: { zone: sup, from: [10.30.0.2], allow: [ssh] } }
`;

const sorts = ({ cells }: Cells): Set<string> =>
  new Set(
    cells.map(({ from, to, family, kind, protocol, port, sourcePort, declared }) =>
      [zone(from), zone(to), family, kind, `${protocol}/${sourcePort ?? port}`, declared].join(' '),
    ),
  );

t.test('whatever stands at regular places in the list of all is not left out regularly', async (t) => {
  const small = cellsOf(classes(2));
  const large = cellsOf(classes(30));

  t.equal(small.leftOut.length, 0);
  t.ok(large.leftOut.length > 0);
  const tried = sorts(large);
  t.strictSame(
    [...sorts(small)].filter((sort) => !tried.has(sort)),
    [],
  );
});
