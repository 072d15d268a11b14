import { hash } from 'node:crypto';
import type { Cell, CellKind } from './twin-cells.ts';
import type { Family } from './ranges.ts';

// Which cells of a large plant are sent, and an exact account of those that are not.

export interface Cells {
  readonly cells: readonly Cell[];
  /** How many there would be. */
  readonly all: number;
  /** What is not sent; empty where everything is. */
  readonly leftOut: readonly Share[];
  /** Ways between zones on which nothing of the sort is sent, though there would be. */
  readonly untried: readonly Way[];
}

export interface Share {
  readonly kind: CellKind;
  readonly family: Family;
  readonly declared: boolean;
  readonly count: number;
}

export interface Way {
  readonly from: string;
  readonly to: string;
  readonly declared: boolean;
}

/** What a person waits for: as many took 40 s with 64 zones and 66 hosts, on two cores that were busy with other work. */
const MOST_CELLS = 10_000;

/**
 * `unmade` are those that would have been too many even to name. What is declared comes first, and leaves half of the
 * room to the rest.
 */
export function chosen(cells: readonly Cell[], unmade: readonly Share[] = []): Cells {
  const all = cells.length + unmade.reduce((sum, { count }) => sum + count, 0);
  if (cells.length <= MOST_CELLS) return { cells, all, leftOut: shares(unmade), untried: [] };
  const meant = cells.filter(({ declared }) => declared);
  const rest = cells.filter(({ declared }) => !declared);
  const first = Math.max(MOST_CELLS / 2, MOST_CELLS - rest.length);
  const some = fair(meant).slice(0, first);
  const sent = new Set([...some, ...fair(rest).slice(0, MOST_CELLS - some.length)]);
  const left = cells.filter((cell) => !sent.has(cell));
  return {
    // In the order that they came in: some of them have to be last.
    cells: cells.filter((cell) => sent.has(cell)),
    all,
    leftOut: shares([
      ...left.map(({ kind, family, declared }) => ({ kind, family, declared, count: 1 })),
      ...unmade,
    ]),
    untried: untried(left, sent),
  };
}

/**
 * The first of each way between zones, the first of each family on it, then of each kind, then of each service; and
 * what is left. Which is the first follows from what each is, and not from where it stands: nothing that comes again and
 * again in a list is left out again and again, and the next probe sends the same.
 */
function fair(cells: readonly Cell[]): Cell[] {
  const known = new Set<string>();
  const shuffled = cells
    .map((cell) => ({ cell, key: hash('sha1', textOf(cell)) }))
    .sort((a, b) => (a.key < b.key ? -1 : 1));
  const ranked = shuffled.map(({ cell }) => {
    const keys = groupsOf(cell);
    const unknown = keys.findIndex((key) => !known.has(key));
    for (const key of keys) known.add(key);
    return { cell, rank: unknown < 0 ? keys.length : unknown };
  });
  return ranked.sort((a, b) => a.rank - b.rank).map(({ cell }) => cell);
}

function textOf({ kind, from, source, to, target, protocol, port, sourcePort, request }: Cell): string {
  return [kind, from, source, to, target, protocol, port, sourcePort ?? '', request?.text ?? ''].join(' ');
}

/** From coarse to fine. */
function groupsOf(cell: Cell): string[] {
  const { kind, family, protocol, port, sourcePort, request } = cell;
  const { from, to } = wayOf(cell);
  const service = `${protocol}/${sourcePort ?? port} ${request?.text ?? ''}`;
  const parts = [`${from} ${to}`, `${family}`, kind, service];
  return parts.map((_, i) => parts.slice(0, i + 1).join('|'));
}

const zoneOf = (host: string): string => host.split('/', 1)[0] ?? host;
const wayOf = ({ from, to, declared }: Cell): Way => ({ from: zoneOf(from), to: zoneOf(to), declared });

function untried(left: readonly Cell[], sent: ReadonlySet<Cell>): Way[] {
  const text = ({ from, to, declared }: Way): string => `${from} ${to} ${declared}`;
  const tried = new Set([...sent].map((cell) => text(wayOf(cell))));
  const ways = new Map(left.map(wayOf).map((way) => [text(way), way]));
  return [...ways].flatMap(([key, way]) => (tried.has(key) ? [] : [way]));
}

/** One for each family and kind, what is declared first. */
function shares(some: readonly Share[]): Share[] {
  const groups = Map.groupBy(some, ({ kind, family, declared }) => `${declared ? 0 : 1} ${family} ${kind}`);
  return [...groups]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([, group]) => {
      const count = group.reduce((sum, one) => sum + one.count, 0);
      return count > 0 ? group.slice(0, 1).map((one) => ({ ...one, count })) : [];
    });
}
