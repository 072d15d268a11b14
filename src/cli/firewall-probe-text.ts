import { formatAddress } from '../config/network.ts';
import { visible } from '../core/visible.ts';
import type { Seen } from '../netd/twin.ts';
import type { Cell } from '../segmentation/twin-cells.ts';
import type { Cells } from '../segmentation/twin-choice.ts';
import {
  differences,
  type Outcome,
  outcomes,
  passesUndeclared,
  type Probed,
  wasCounted,
} from './firewall-probe-result.ts';

// What a probe tells: differences, what was left out, and the matrix.

export function forPerson(probed: Probed): string {
  const { plant, cells, mode, wouldDeny } = probed;
  const wrong = differences(probed);
  const declared = cells.cells.filter((cell) => cell.declared).length;
  const passing = cells.cells.filter((cell) => passesUndeclared(cell, mode)).length;
  const whom = plant.one === 'device' ? 'one for each device' : 'one for each class';
  const head = [
    `a twin of the plant, ${plant.hosts.length} hosts (${whom}, somebody unknown in each zone, and a stray interface), mode ${mode}:`,
    `  ${cells.cells.length} packets were sent, ${declared} of them declared`,
    ...leftOutText(cells),
    ...(passing === 0
      ? []
      : [`  ${passing} more shall pass, observed; ${wouldDeny} packets were counted that would be denied`]),
    wrong.length === 0 ? 'as declared, all of them' : `${wrong.length} differ from what is declared:`,
    ...(wasCounted(probed) ? [] : ['and nothing was counted that would be denied']),
    ...wrong.map(
      ({ cell, seen }) =>
        `  ${cellText(cell)}: ${cell.declared ? 'is declared' : 'is not declared'}, ${SEEN[seen]}`,
    ),
    '',
    ...matrix(outcomes(probed)),
  ];
  return head.map((line) => `${visible(line)}\n`).join('');
}

const SEEN: Readonly<Record<Seen, string>> = {
  answered: 'and was answered',
  arrived: 'and arrived',
  nothing: 'and did not arrive',
  refused: 'and was refused by the guard',
};

function cellText(cell: Cell): string {
  const { family, kind } = cell;
  const [source, target] = [formatAddress(family, cell.source), formatAddress(family, cell.target)];
  const what = kind === 'new' || kind === 'request' || cell.claim !== undefined ? '' : ` (${kind})`;
  return `${cell.from} ${source} -> ${cell.to} ${target} ${service(cell)}${what}`;
}

function service({ protocol, port, sourcePort = port, kind, request, claim }: Cell): string {
  if (claim !== undefined) return `arp (${kind})`;
  if (request !== undefined) return `${protocol}/${port} (${request.text})`;
  const name = protocol === 'icmp' ? 'icmp' : `${protocol}/${sourcePort}`;
  const marks = {
    new: '',
    request: '',
    'own arp': '',
    'foreign arp': '!',
    'foreign hardware': '!',
    'answer unasked': '?',
    'foreign source': '!',
    fragments: '+',
    'small fragments': '+',
    'tiny fragments': '+',
  };
  return `${name}${marks[kind]}`;
}

/** A row for each pair of hosts, family, and fate that packets between them should have had and had. */
function matrix(all: readonly Outcome[]): string[] {
  const row = ({ cell, expected, seen }: Outcome): string =>
    `  ${expected.padEnd(WIDTH)}${seen.padEnd(WIDTH)}IPv${cell.family}   ${cell.from} -> ${cell.to}: `;
  const rows = Map.groupBy(
    [...Map.groupBy(all, ({ cell }) => `${cell.from} -> ${cell.to}`).values()].flat(),
    row,
  );
  return [
    `  ${'expected'.padEnd(WIDTH)}${'seen'.padEnd(WIDTH)}       from -> to: what was sent`,
    ...[...rows].map(
      ([head, some]) => `${head}${[...new Set(some.map(({ cell }) => service(cell)))].join(' ')}`,
    ),
    '? an answer from this port that nobody asked for   ! with the address of somebody else   + in fragments',
  ];
}

/** Of a column with what becomes of a packet. */
const WIDTH = 11;

function leftOutText({ cells, all, leftOut, untried }: Cells): string[] {
  if (leftOut.length === 0) return [];
  const of = (isDeclared: boolean): string[] => {
    const what = isDeclared ? 'declared' : 'not declared';
    const some = leftOut.filter(({ declared }) => declared === isDeclared);
    const ways = untried.filter(({ declared }) => declared === isDeclared);
    const counts = some.map(({ kind, family, count }) => `${count} ${kind} over IPv${family}`);
    return [
      `  left out, ${what}: ${counts.join(', ') || 'none'}`,
      ...(ways.length === 0
        ? []
        : [
            `  nothing ${what} was sent between: ${ways.map(({ from, to }) => `${from} -> ${to}`).join(', ')}`,
          ]),
    ];
  };
  return [
    `  of ${all} there would be, ${all - cells.length} were left out, the same ones each time:`,
    ...of(true),
    ...of(false),
  ];
}

const record = ({ cell, expected, seen }: Outcome): object => ({
  kind: cell.kind,
  from: cell.from,
  source: formatAddress(cell.family, cell.source),
  to: cell.to,
  target: formatAddress(cell.family, cell.target),
  protocol: cell.claim === undefined ? cell.protocol : 'arp',
  port: cell.protocol === 'icmp' || cell.claim !== undefined ? null : cell.port,
  ...(cell.sourcePort !== undefined && { 'source-port': cell.sourcePort }),
  ...(cell.request !== undefined && { request: cell.request.text, unit: cell.request.unit }),
  declared: cell.declared,
  ...(cell.observed === true && { observed: true }),
  expected,
  seen,
});

export function forMachine(probed: Probed): object {
  const { plant, cells, mode, wouldDeny } = probed;
  return {
    mode,
    'one-host-for-each': plant.one,
    hosts: plant.hosts.map(({ name, zone, interface: own }) => ({ name, zone, interface: own })),
    'all-cells': cells.all,
    'left-out': cells.leftOut,
    untried: cells.untried,
    'would-deny': wouldDeny,
    differences: differences(probed).map(record),
    cells: outcomes(probed).map(record),
  };
}
