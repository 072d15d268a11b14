import type { Cell } from '../segmentation/twin-cells.ts';

// Which packets of a twin are under way at the same time: as many as do not get in each other's way, since each round
// has its price in every host that takes part.

export interface Numbered {
  readonly cell: Cell;
  readonly id: number;
}

/** Sockets that one host has open at the same time; far below what a process may have. */
const MOST_OF_HOST = 200;
/** Packets that two cores carry while whoever sent them waits. */
const MOST = 1_000;

interface Batch {
  readonly cells: Numbered[];
  readonly taken: Set<string>;
  readonly load: Map<string, number>;
}

/**
 * Kinds apart: each has its own sockets. Two packets of one batch never have the same addresses and ports, since that is
 * what is noted of them; and nobody asks for an address that he has himself meanwhile.
 */
export function batchesOf(cells: readonly Numbered[]): Numbered[][] {
  return [...Map.groupBy(cells, ({ cell }) => cell.kind).values()].flatMap((some) => {
    const batches: Batch[] = [];
    for (const one of some) {
      const batch = batches.find((each) => hasRoom(each, one.cell)) ?? opened(batches);
      batch.cells.push(one);
      for (const mark of marksOf(one.cell)) batch.taken.add(mark);
      for (const host of [one.cell.from, one.cell.to]) batch.load.set(host, loadOf(batch, host) + 1);
    }
    return batches.map((batch) => batch.cells);
  });
}

function opened(batches: Batch[]): Batch {
  const batch = { cells: [], taken: new Set<string>(), load: new Map<string, number>() };
  batches.push(batch);
  return batch;
}

const loadOf = ({ load }: Batch, host: string): number => load.get(host) ?? 0;

function hasRoom(batch: Batch, cell: Cell): boolean {
  const { from, source, to, target } = cell;
  return (
    batch.cells.length < MOST &&
    loadOf(batch, from) < MOST_OF_HOST &&
    loadOf(batch, to) < MOST_OF_HOST &&
    !batch.taken.has(packetOf(cell)) &&
    !batch.taken.has(`${from} asks ${source}`) &&
    !batch.taken.has(`${from} has ${target}`)
  );
}

const marksOf = (cell: Cell): string[] => [
  packetOf(cell),
  `${cell.from} has ${cell.source}`,
  `${cell.from} asks ${cell.target}`,
];

const packetOf = ({ source, target, protocol, port }: Cell): string =>
  `${source} ${target} ${protocol}/${port}`;
