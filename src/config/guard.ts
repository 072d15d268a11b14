import type { Conduit, ModbusGuard, ModbusTable, Span, TableSpan } from './config.ts';
import type { Named } from './conduits.ts';
import { fromModicon } from './modbus-address.ts';
import { nearest } from './nearest.ts';
import { describe, type Path, type Report } from './problem.ts';
import { GATEWAY } from './zones.ts';

/** Modbus, and of it only what reads: function codes 1 to 4. */
export const READ_ONLY = 'modbus-tcp/read';
const MODBUS = 'modbus-tcp';

export const isModbus = (service: string): boolean => service === MODBUS || service === READ_ONLY;

const TABLES = ['coil', 'discrete', 'input', 'holding'] as const;
/** Nobody can write a discrete input or an input register (Modbus Application Protocol V1.1b3, 4.3). */
const WRITABLE: readonly ModbusTable[] = ['coil', 'holding'];
/** Addresses are 16 bits (Application Protocol V1.1b3, 4.4). */
const LAST_ADDRESS = 65_535;
/** Unit ids are one byte (Messaging Guide V1.0b, 3.1.3). */
const LAST_UNIT = 255;

/** What is written below `guard`, as far as it is right. */
export interface GuardShape {
  readonly grade?: ModbusGuard['grade'] | undefined;
  readonly units?: readonly (number | string)[] | undefined;
  readonly read?: readonly string[] | undefined;
  readonly write?: readonly string[] | undefined;
}

interface Written {
  readonly from: string;
  readonly to: string;
  readonly allow: readonly string[];
  readonly only: Conduit['only'];
  readonly guard: GuardShape | undefined;
}

/** Undefined where Modbus is not looked into. */
export function readGuard(
  written: Written,
  path: Path,
  named: Named,
  report: Report,
): ModbusGuard | undefined {
  const { allow, guard } = written;
  const reads = allow.includes(READ_ONLY);
  const all = allow.indexOf(MODBUS);
  if (reads && all >= 0) {
    report([...path, 'allow', all], `${MODBUS} beside ${READ_ONLY}`, 'keep one of them');
  }
  if (guard !== undefined && !reads && all < 0) {
    report(
      [...path, 'guard'],
      'a guard, and no Modbus to look into',
      `add ${MODBUS} to allow, or take it out`,
    );
    return undefined;
  }
  if (!reads && guard === undefined) return undefined;
  checkEnds(written, path, named, report);
  const at = [...path, 'guard'];
  const { grade = 'enforced' } = guard ?? {};
  checkWrites(reads, guard, at, report);
  if (grade === 'filtered') checkFiltered(reads, guard, at, report);
  return {
    grade,
    units: guard?.units?.flatMap((unit, i) => unitsOf(unit, [...at, 'units', i], report)),
    read: spans(guard?.read, [...at, 'read'], report) ?? EVERYTHING,
    write: spans(guard?.write, [...at, 'write'], report, WRITABLE) ?? [],
  };
}

const EVERYTHING: readonly TableSpan[] = TABLES.map((table) => ({ table, low: 0, high: LAST_ADDRESS }));

function checkWrites(reads: boolean, guard: Written['guard'], at: Path, report: Report): void {
  if (!reads || guard?.write === undefined || guard.write.length === 0) return;
  report(
    [...at, 'write'],
    `something to write, and ${READ_ONLY} only reads`,
    `allow ${MODBUS}, or take it out`,
  );
}

/** A filter of packets cannot follow a request: it knows reads from everything else, and nothing more. */
function checkFiltered(reads: boolean, guard: Written['guard'], at: Path, report: Report): void {
  if (!reads)
    report([...at, 'grade'], 'filtered, for more than reading', `allow ${READ_ONLY}, or use enforced`);
  for (const key of ['units', 'read'] as const) {
    if (guard?.[key] !== undefined)
      report([...at, key], `${key}, which filtered does not look at`, 'take it out, or use enforced');
  }
}

/** A guard stands between a zone and devices that speak Modbus TCP at a known address. */
function checkEnds({ from, to, only }: Written, path: Path, named: Named, report: Report): void {
  if (from === GATEWAY) {
    report(
      [...path, 'from'],
      'a guard in front of the gateway itself',
      'leave the conduit out: it polls its devices',
    );
  }
  if (to === GATEWAY || (to !== '' && !named.zones.has(to))) {
    if (to === GATEWAY)
      report([...path, 'to'], 'a guard that ends at no device', `use ${MODBUS} without guard`);
    return;
  }
  for (const [i, { kind, text }] of only.to.entries()) {
    const at = [...path, 'only', 'to', i];
    if (kind === 'subnet') {
      report(at, `a guard that ends at ${text}`, 'name devices or classes that speak modbus-tcp');
      continue;
    }
    const stranger = named.devices.find(
      (one) => (kind === 'class' ? one.class : one.name) === text && one.endpoint.protocol !== MODBUS,
    );
    if (stranger !== undefined)
      report(
        at,
        `a guard that ends at ${stranger.name}, which has no modbus-tcp address`,
        'name devices or classes that speak modbus-tcp',
      );
  }
  const targets = named.devices.filter(({ zone, endpoint }) => zone === to && endpoint.protocol === MODBUS);
  if (targets.length === 0 && only.to.length === 0 && to !== '' && named.whole)
    report(
      [...path, 'to'],
      `a guard, and no device of ${to} speaks modbus-tcp`,
      'declare the devices, or take it out',
    );
}

function unitsOf(unit: number | string, path: Path, report: Report): Span[] {
  const [, low = '', high = low] = /^(\d{1,3})(?:-(\d{1,3}))?$/.exec(String(unit)) ?? [];
  if (low === '') {
    report(path, `${describe(unit)} is no unit`, 'write units such as 5 or 1-10');
    return [];
  }
  return spanOf({ low, high, last: LAST_UNIT, what: 'unit', text: String(unit) }, path, report);
}

function spans(
  texts: readonly string[] | undefined,
  path: Path,
  report: Report,
  tables: readonly ModbusTable[] = TABLES,
): TableSpan[] | undefined {
  return texts?.flatMap((text, i) => tableSpan(text, [...path, i], report, tables));
}

/** `400001` or `400001-400100`, as points may be written too: holding registers 0 to 99. */
function modiconSpan(text: string, path: Path, report: Report, tables: readonly ModbusTable[]): TableSpan[] {
  const ends = text.split('-').map((number) => fromModicon(number));
  const wrong = ends.find((end) => 'found' in end);
  if (wrong !== undefined && 'found' in wrong) {
    report(path, wrong.found, wrong.fix);
    return [];
  }
  const [low, high = low] = ends.flatMap((end) => ('table' in end ? [end] : []));
  if (low === undefined || high === undefined) return [];
  if (low.table !== high.table) {
    report(path, `a range from ${low.table} to ${high.table}, ${describe(text)}`, 'write a range for each');
    return [];
  }
  return tableSpan(`${low.table}:${low.address}-${high.address}`, path, report, tables);
}

function tableSpan(text: string, path: Path, report: Report, tables: readonly ModbusTable[]): TableSpan[] {
  if (/^\d{6}(?:-\d{6})?$/.test(text)) return modiconSpan(text, path, report, tables);
  const [, name = '', all, low = '', high = low] =
    /^([^:]*):(?:(\*)|(\d{1,6})(?:-(\d{1,6}))?)$/.exec(text) ?? [];
  if (name === '') {
    report(path, `${describe(text)} is no range`, 'write table:low-high or table:*, such as holding:0-99');
    return [];
  }
  const table = TABLES.find((known) => known === name);
  if (table === undefined) {
    const meant = nearest(name, TABLES);
    const fix = `tables are ${TABLES.join(', ')}`;
    report(
      path,
      `unknown table ${describe(name)}`,
      meant === undefined ? fix : `did you mean ${meant}? ${fix}`,
    );
    return [];
  }
  if (!tables.includes(table)) {
    report(path, `${table} cannot be written`, 'coil and holding can');
    return [];
  }
  if (all === '*') return [{ table, low: 0, high: LAST_ADDRESS }];
  const found = spanOf({ low, high, last: LAST_ADDRESS, what: 'address', text }, path, report);
  return found.map((span) => ({ table, ...span }));
}

interface Digits {
  readonly low: string;
  readonly high: string;
  readonly last: number;
  readonly what: string;
  readonly text: string;
}

function spanOf({ low, high, last, what, text }: Digits, path: Path, report: Report): Span[] {
  const span = { low: Number(low), high: Number(high) };
  if (Math.max(span.low, span.high) > last) {
    report(path, `${what} beyond ${last} in ${describe(text)}`, `use a zero-based ${what} up to ${last}`);
    return [];
  }
  if (span.low > span.high) {
    report(path, `a range that runs backwards, ${describe(text)}`, 'put the lower end first');
    return [];
  }
  return [span];
}
