import type { ModbusTable, Span, TableSpan } from '../config/config.ts';
import type { GuardedConduit, GuardTarget } from './guards.ts';
import type { Policy } from './policy.ts';
import { FAMILIES } from './ranges.ts';
import { type Cell, type End, endsOf, isBetween, isOf } from './twin-cells.ts';
import type { TwinPlant } from './twin-hosts.ts';

// What is asked over guarded conduits of a twin: of each kind a request that is allowed, and one that is not.

/** Function codes that touch one value, Modbus Application Protocol V1.1b3, section 6. */
const READ: Readonly<Record<ModbusTable, number>> = { coil: 1, discrete: 2, holding: 3, input: 4 };
const WRITE: Readonly<Partial<Record<ModbusTable, number>>> = { coil: 5, holding: 6 };
const LAST_ADDRESS = 65_535;
/** A guard takes a few dozen connections at a time; these stand for all who may ask. */
const MOST_CLIENTS = 4;

/** One value of one table. */
interface Ask {
  readonly what: 'read' | 'write';
  readonly table: ModbusTable;
  readonly address: number;
  readonly allowed: boolean;
}

export function requestCells(
  policy: Policy,
  plant: TwinPlant,
  guards: readonly GuardedConduit[],
): readonly Cell[] {
  return FAMILIES.flatMap((family) => {
    const ends = endsOf(plant, family);
    return guards.flatMap((guard) =>
      guard.targets
        .filter((target) => target.family === family)
        .flatMap((target) => {
          const devices = ends.filter(({ zone, address }) => zone === guard.to && address === target.address);
          return devices.flatMap((to) =>
            ends
              .filter((from) => mayAsk(policy, guard, from, to, target))
              .slice(0, MOST_CLIENTS)
              .flatMap((from) => asksOf(guard).map((ask) => cellOf(guard, target, { from, to, ask }))),
          );
        }),
    );
  });
}

const mayAsk = (
  { flows }: Policy,
  { path }: GuardedConduit,
  from: End,
  to: End,
  target: GuardTarget,
): boolean =>
  flows.some(
    (flow) =>
      flow.path === path &&
      flow.guard !== undefined &&
      isBetween(flow, from, to, target.family) &&
      isOf(flow, target.family, { protocol: 'tcp', port: target.port }),
  );

function cellOf(
  { limits }: GuardedConduit,
  { family, address, port, units }: GuardTarget,
  { from, to, ask }: { readonly from: End; readonly to: End; readonly ask: Ask },
): Cell {
  const { what, table, address: at, allowed } = ask;
  const code = (what === 'read' ? READ : WRITE)[table] ?? READ[table];
  return {
    kind: 'request',
    family,
    from: from.name,
    source: from.address,
    to: to.name,
    target: address,
    protocol: 'tcp',
    port,
    sourcePort: undefined,
    declared: allowed,
    request: {
      unit: unitOf(units),
      code,
      address: at,
      text: `${what} ${table}:${at}`,
      refusal: limits.grade === 'enforced' ? 'exception' : 'silence',
    },
  };
}

/** A write to unit 0 is one to all units of a line. */
function unitOf(units: readonly Span[]): number {
  const [first] = units;
  const isOne = units.some(({ low, high }) => low <= 1 && 1 <= high);
  return isOne ? 1 : (first?.low ?? 1);
}

/** Where what is not allowed passes too, for a while, nothing is refused that could be seen. */
function asksOf({ limits, observes }: GuardedConduit): Ask[] {
  const { read, write, grade } = limits;
  const of = (what: Ask['what'], spans: readonly TableSpan[]): Ask[] =>
    spans.slice(0, 1).map(({ table, low }) => ({ what, table, address: low, allowed: true }));
  // A packet filter tells reads from writes, and no more.
  const denied: Ask[] = [
    ...outside('write', WRITE, write),
    ...(grade === 'enforced' ? outside('read', READ, read) : []),
  ];
  const forbidden = observes?.until === undefined ? denied : [];
  return [...of('read', read), ...(grade === 'enforced' ? of('write', write) : []), ...forbidden];
}

/** The first address of the first table that has one which no span allows. */
function outside(
  what: Ask['what'],
  tables: Readonly<Partial<Record<ModbusTable, number>>>,
  spans: readonly TableSpan[],
): Ask[] {
  const found = (['holding', 'coil', 'input', 'discrete'] as const)
    .filter((table) => table in tables)
    .flatMap((table): Ask[] => {
      const taken = spans.filter((span) => span.table === table);
      const free = [0, ...taken.map(({ high }) => high + 1)].find(
        (address) =>
          address <= LAST_ADDRESS && !taken.some(({ low, high }) => low <= address && address <= high),
      );
      return free === undefined ? [] : [{ what, table, address: free, allowed: false }];
    });
  return found.slice(0, 1);
}
