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
export function table({ scenario, load, spreadOf, rows, sheet, notes, faults }: Result): string {
  const cells = [COLUMNS.map(({ head }) => head), ...rows.map((row) => COLUMNS.map(({ cell }) => cell(row)))];
  const left = COLUMNS.map((column) => 'left' in column);
  return [
    `${scenario}: ${load}`,
    ...(rows.length === 0 ? [] : [`p50, p99, max: ${spreadOf}, in ms`, ...aligned(cells, left)]),
    ...(sheet === undefined ? [] : aligned([sheet.head, ...sheet.lines], [true])),
    ...notes.map((note) => `  · ${note}`),
    ...faults.map((fault) => `  ! ${fault}`),
    '',
  ].join('\n');
}

/** Columns as wide as their longest cell; figures stand at the right, where `left` does not say otherwise. */
function aligned(lines: readonly (readonly string[])[], left: readonly boolean[]): string[] {
  const widths = (lines[0] ?? []).map((_, column) =>
    Math.max(...lines.map((line) => line[column]?.length ?? 0)),
  );
  return lines.map((line) => {
    const cells = line.map((cell, column) => {
      const width = widths[column] ?? 0;
      return left[column] === true ? cell.padEnd(width) : cell.padStart(width);
    });
    return `  ${cells.join('  ')}`.trimEnd();
  });
}

export function whole(n: number): string {
  return Math.round(n).toLocaleString('en');
}
