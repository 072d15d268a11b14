import { formatDuration } from '../config/duration.ts';
import type { Completeness, HistoryGap, HistoryQuery, LastSample, Trace } from '../core/history.ts';
import type { PointName } from '../core/point.ts';
import { QUALITIES, REASONS } from '../core/quality.ts';
import { type Duration, milliseconds } from '../core/units.ts';
import { visible } from '../core/visible.ts';
import { count } from './progress.ts';

export function names(found: readonly PointName[]): string {
  return table(found.map((name) => [nameOf(name), unitOf(name)]));
}

export function last(samples: readonly LastSample[]): string {
  const rows = samples.map(({ name, time, value, quality, reason }) => [
    nameOf(name),
    value === null ? '-' : typeof value === 'number' ? figure(value) : shortened(visible(String(value))),
    unitOf(name),
    quality === 0 ? 'good' : `${QUALITIES[quality] ?? ''}: ${REASONS[reason] ?? ''}`,
    instant(time),
  ]);
  return table([['point', 'value', 'unit', 'quality', 'time (UTC)'], ...rows]);
}

export function* charts(query: HistoryQuery, traces: Iterable<Trace>): Generator<string> {
  let shown = 0;
  for (const trace of traces) {
    const unit = trace.name.unit === undefined ? '' : ` in ${unitOf(trace.name)}`;
    const source = trace.tier === 'raw' ? 'samples' : `${trace.tier}s`;
    const head = `${nameOf(trace.name)}${unit}, every ${formatDuration(trace.step)} from ${source}`;
    yield `${shown++ === 0 ? '' : '\n'}${head}\n${table(chartRows(trace))}`;
  }
  if (shown === 0) yield `no samples from ${instant(query.from)} to ${instant(query.to)} (UTC)\n`;
}

export function* completeness(query: HistoryQuery, found: Iterable<Completeness>): Generator<string> {
  yield `${instant(query.from)} to ${instant(query.to)} (UTC)\n`;
  for (const { name, share, gaps } of found) {
    yield `${nameOf(name)}${name.unit === undefined ? '' : ` (${unitOf(name)})`}: ${percent(share)}\n`;
    yield table(gaps.map((gap) => ['', ...gapRow(gap)]));
  }
}

const HEAD = ['time (UTC)', 'min', 'mean', 'max', 'first', 'last', 'changes', 'samples', 'good'];

function chartRows(trace: Trace): string[][] {
  const rows = Array.from(trace.starts, (start, i) => {
    const at = (column: Float64Array): number => column[i] ?? Number.NaN;
    const text = trace.texts.get(i)?.map((value) => shortened(visible(value)));
    return [
      instant(start),
      ...[trace.mins, trace.means, trace.maxes].map((column) => figure(at(column))),
      text?.[0] ?? figure(at(trace.firsts)),
      text?.[1] ?? figure(at(trace.lasts)),
      count(at(trace.changes)),
      count(at(trace.counts)),
      percent(at(trace.goods) / at(trace.counts)),
    ];
  });
  return [HEAD, ...rows];
}

function gapRow({ from, to, reason, detail, left }: HistoryGap): string[] {
  const rest = left === undefined ? 'nothing is left' : left === 'raw' ? '' : `${left}s are left`;
  return [instant(from), instant(to), lengthOf(milliseconds(to - from)), reason, visible(detail), rest];
}

function nameOf({ device, point }: PointName): string {
  return visible(`${device}/${point}`);
}

function unitOf({ unit = '' }: PointName): string {
  return visible(unit);
}

/** Milliseconds only where there are some: `2026-11-26 10:00:00`. */
function instant(time: number): string {
  const text = new Date(time).toISOString().replace('T', ' ').replace('Z', '');
  return text.endsWith('.000') ? text.slice(0, -4) : text;
}

/** Six digits, as an instrument shows them, or the whole number before the point; a dash where there is no number. */
function figure(value: number): string {
  if (Number.isNaN(value)) return '-';
  if (Math.abs(value) >= 1e15) return `${Number(value.toPrecision(6))}`;
  if (Number.isInteger(value) || Math.abs(value) >= 1e6) return `${Math.round(value)}`; // a mean of counts is not below their minimum
  return `${Number(value.toPrecision(6))}`;
}

/** 100 % is said of nothing less. */
function percent(share: number): string {
  const hundredths = Math.floor(share * 10_000) / 100;
  return `${hundredths.toFixed(share === 1 || share === 0 ? 0 : 2)} %`;
}

const SECOND = 1_000;
const MINUTE = 60_000;
const DAY = 86_400_000;

/** To a second where it is longer than one, to a minute where it is longer than a day. */
function lengthOf(duration: Duration): string {
  const grain = duration >= DAY ? MINUTE : duration >= SECOND ? SECOND : 1;
  let rest = Math.round(duration / grain) * grain;
  const parts: string[] = [];
  for (const [unit, length] of UNITS) {
    const whole = Math.floor(rest / length);
    if (whole > 0) parts.push(`${whole}${unit}`);
    rest -= whole * length;
  }
  return parts.join(' ');
}

const UNITS = [
  ['d', DAY],
  ['h', 3_600_000],
  ['m', MINUTE],
  ['s', SECOND],
  ['ms', 1],
] as const;

const LONGEST_TEXT = 40;

function shortened(text: string): string {
  return text.length <= LONGEST_TEXT ? text : `${text.slice(0, LONGEST_TEXT - 1)}…`;
}

/** Columns of the same width, two spaces apart; nothing where there is no row. */
function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows)
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
  return rows
    .map(
      (row) =>
        `${row
          .map((cell, i) => cell.padEnd(widths[i] ?? 0))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}
