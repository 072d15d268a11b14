import type { ModbusSource, ModbusTable, PointConfig } from '../config/config.ts';
import { type EpochMs, epochMs } from '../core/units.ts';
import { signalAt, tickOf } from './signal.ts';
import { bitMask, registersOf } from './value.ts';

interface Placed {
  readonly point: PointConfig;
  readonly source: ModbusSource;
}

interface Table {
  readonly points: readonly Placed[];
  readonly low: number;
  readonly high: number;
  /** Bits (0 or 1) or registers from `low` on, as they are at `tick`. */
  readonly words: Uint16Array;
  tick: EpochMs;
  readonly written: Map<number, number>;
  readonly writable: ReadonlySet<number>;
}

/** The memory of one Modbus unit. Addresses between its lowest and highest point are there; unused ones hold 0. */
export class UnitMemory {
  readonly device: string;
  readonly #tables: ReadonlyMap<ModbusTable, Table>;
  readonly #seed: number;

  constructor(device: string, points: readonly PointConfig[], seed: number) {
    this.device = device;
    this.#seed = seed;
    this.#tables = tablesOf(points);
  }

  /** Bits or registers; undefined where one of the addresses is not there. */
  read(name: ModbusTable, address: number, count: number, time: EpochMs): Uint16Array | undefined {
    const table = this.#tables.get(name);
    if (table === undefined || address < table.low || address + count - 1 > table.high) return undefined;
    this.#refresh(table, name, tickOf(time));
    return table.words.subarray(address - table.low, address - table.low + count);
  }

  /** Keeps what was written; false, and nothing changed, where one of the addresses is not writable. */
  write(name: 'coil' | 'holding', address: number, values: readonly number[]): boolean {
    const table = this.#tables.get(name);
    if (table === undefined || !values.every((_, i) => table.writable.has(address + i))) return false;
    for (const [i, value] of values.entries()) table.written.set(address + i, value);
    table.tick = epochMs(-1);
    return true;
  }

  #refresh(table: Table, name: ModbusTable, tick: EpochMs): void {
    if (table.tick === tick) return;
    table.tick = tick;
    table.words.fill(0);
    for (const { point, source } of table.points) {
      const value = signalAt(point, tick, this.#seed);
      const at = source.address - table.low;
      if (isBits(name)) table.words[at] = value === true ? 1 : 0;
      else if (source.bit !== undefined)
        table.words[at] = (table.words[at] ?? 0) | (value === true ? bitMask(source) : 0);
      else table.words.set(registersOf(point, source, value), at);
    }
    for (const [address, value] of table.written) table.words[address - table.low] = value;
  }
}

function tablesOf(points: readonly PointConfig[]): ReadonlyMap<ModbusTable, Table> {
  const placed = new Map<ModbusTable, Placed[]>();
  for (const point of points) {
    const { source } = point;
    if (source.kind !== 'modbus') continue;
    placed.set(source.table, [...(placed.get(source.table) ?? []), { point, source }]);
  }
  return new Map([...placed].map(([name, list]) => [name, tableOf(list)]));
}

function tableOf(points: readonly Placed[]): Table {
  const low = Math.min(...points.map(({ source }) => source.address));
  const high = Math.max(...points.map(({ source }) => source.address + source.length - 1));
  const writable = points.filter(({ point }) => point.writable).flatMap(({ source }) => addressesOf(source));
  return {
    // Whole registers first: a bit of one of them is then set in it, and not overwritten by it.
    points: points.toSorted(
      (a, b) => Number(a.source.bit !== undefined) - Number(b.source.bit !== undefined),
    ),
    low,
    high,
    words: new Uint16Array(high - low + 1),
    tick: epochMs(-1),
    written: new Map(),
    writable: new Set(writable),
  };
}

function addressesOf({ address, length }: ModbusSource): readonly number[] {
  return Array.from({ length }, (_, i) => address + i);
}

function isBits(name: ModbusTable): boolean {
  return name === 'coil' || name === 'discrete';
}
