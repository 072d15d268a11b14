import type { Result, Row } from './scenario.ts';

const COLUMNS = [
  { head: 'who', left: true, cell: (row: Row) => row.who },
  { head: 'offered/s', cell: ({ offered }: Row) => (offered === undefined ? '' : whole(offered)) },
  { head: 'arrived/s', cell: (row: Row) => whole(row.arrived) },
  { head: 'CPU s', cell: (row: Row) => row.cpu.toFixed(2) },
  { head: 'of a core', cell: (row: Row) => `${((row.cpu / row.seconds) * 100).toFixed(1)} %` },
  { head: 'peak MB', cell: (row: Row) => (row.memory / 1e6).toFixed(0) },
  { head: 'p50', cell: ({ spread }: Row) => (spread === undefined ? '' : whole(spread.p50)) },
  { head: 'p99', cell: ({ spread }: Row) => (spread === undefined ? '' : whole(spread.p99)) },
  { head: 'max', cell: ({ spread }: Row) => (spread === undefined ? '' : whole(spread.max)) },
  { head: 'ratio', left: true, cell: (row: Row) => row.ratio ?? '' },
] as const;

/** A result for a person: what was offered, the rows, and the facts that no column holds. */
export function table({ scenario, load, spreadOf, rows, notes, faults }: Result): string {
  const cells = [COLUMNS.map(({ head }) => head), ...rows.map((row) => COLUMNS.map(({ cell }) => cell(row)))];
  const widths = COLUMNS.map((_, column) => Math.max(...cells.map((line) => line[column]?.length ?? 0)));
  const lines = cells.map((line) =>
    line
      .map((cell, column) => {
        const width = widths[column] ?? 0;
        return 'left' in (COLUMNS[column] ?? {}) ? cell.padEnd(width) : cell.padStart(width);
      })
      .join('  ')
      .trimEnd(),
  );
  return [
    `${scenario}: ${load}`,
    `p50, p99, max: ${spreadOf}, in ms`,
    ...lines.map((line) => `  ${line}`),
    ...notes.map((note) => `  · ${note}`),
    ...faults.map((fault) => `  ! ${fault}`),
    '',
  ].join('\n');
}

export function whole(n: number): string {
  return Math.round(n).toLocaleString('en');
}
