import { isRecord } from './field.ts';
import { denialChain, flowChain, pairChain, sideSet } from './names.ts';
import type { Flow, Policy } from './policy.ts';
import { FAMILIES } from './ranges.ts';
import { GATEWAY } from '../config/zones.ts';

/** Who in gateway.yaml a command of a rendered document is made for; undefined where it is nobody in particular. */
export function blame(command: unknown, { flows, zones, guard }: Policy): string | undefined {
  const text = JSON.stringify(command);
  // The chain that leads connections to the gateway is there for guarded conduits alone.
  if (/^\{"add":\{"chain":.*"type":"nat"/.test(text))
    return flows.find((flow) => flow.guard?.grade === 'enforced')?.path;
  const names = new Set([...text.matchAll(/"([^"\\]+)"/g)].map(([, name = '']) => name));
  const flow = flows.find((one) => namesOf(one).some((stem) => [...names].some((name) => isOf(name, stem))));
  if (flow !== undefined) return flow.path;
  const ends = [...zones.map(({ name }) => name), GATEWAY];
  for (const from of ends) {
    for (const to of ends) {
      const pair = { from, to };
      if (![pairChain(pair), denialChain(pair)].some((name) => names.has(name))) continue;
      return `zones.${from === GATEWAY ? to : from}`;
    }
  }
  const zone = zones.find((one) => names.has(one.interface));
  if (zone !== undefined) return `zones.${zone.name}`;
  const host = guard?.hosts.find(({ mac }) => names.has(mac));
  const port = guard?.ports.find(({ name }) => names.has(name));
  // The table of the bridge is there for access ports alone: where it is refused as such, the first of them asked for it.
  return host?.path ?? port?.path ?? (names.has('bridge') ? guard?.ports[0]?.path : undefined);
}

const namesOf = (flow: Flow): string[] => [
  flowChain(flow),
  ...FAMILIES.flatMap((family) => [sideSet(flow, 'from', family), sideSet(flow, 'to', family)]),
];

/** Flows of one name that have other ends have sets with a number behind. */
const isOf = (name: string, stem: string): boolean =>
  name === stem || (/^_\d+$/.test(name.slice(stem.length)) && name.startsWith(stem));

/** A document as its commands, and one of some of them. */
export function commandsIn(document: string): unknown[] {
  const json: unknown = JSON.parse(document);
  const list = typeof json === 'object' && json !== null && 'nftables' in json ? json.nftables : [];
  return Array.isArray(list) ? list : [];
}

export const documentOf = (commands: readonly unknown[]): string => JSON.stringify({ nftables: commands });

/** The same command with the first `count` of its elements; undefined where it has none. */
export function withElements(
  command: unknown,
  count?: number,
): { readonly command: unknown; readonly elements: number; readonly last: unknown } | undefined {
  if (!isRecord(command)) return undefined;
  const { add } = command;
  if (!isRecord(add)) return undefined;
  const [kind = '', object] = Object.entries(add)[0] ?? [];
  if (!isRecord(object) || !Array.isArray(object['elem'])) return undefined;
  const all: readonly unknown[] = object['elem'];
  const some = all.slice(0, count ?? all.length);
  const { elem: _, ...rest } = object;
  return {
    command: { add: { [kind]: some.length === 0 ? rest : { ...rest, elem: some } } },
    elements: all.length,
    last: some.at(-1),
  };
}
