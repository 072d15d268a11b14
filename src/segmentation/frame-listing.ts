import { objectsOf, type TableObject } from './canonical.ts';
import { isRecord, text } from './field.ts';
import type { FrameHook } from './frame-rules.ts';
import { HOOKS } from './frame-space.ts';
import { flagsOf } from './listing-set.ts';

/** The table `bridge sluice` as nft lists it, as far as its evaluation needs it. */
export interface FrameListing {
  /** The chain at each hook. */
  readonly bases: ReadonlyMap<FrameHook, string>;
  readonly rules: ReadonlyMap<string, readonly FrameRule[]>;
  readonly sets: ReadonlyMap<string, FrameElements>;
  /** What makes the whole not understood. */
  readonly gaps: readonly string[];
}

export interface FrameRule {
  readonly place: string;
  readonly statements: readonly unknown[];
}

export interface FrameElements {
  readonly dynamic: boolean;
  readonly types: readonly string[];
  readonly elements: readonly (readonly unknown[])[];
}

/** Undefined where there is no such table. */
export function frameListing(listing: string): FrameListing | undefined {
  const objects = objectsOf(listing, 'bridge');
  if (objects === undefined) return undefined;
  const gaps: string[] = [];
  const rules = new Map<string, FrameRule[]>();
  const sets = new Map<string, FrameElements>();
  const bases = new Map<FrameHook, string>();
  for (const { kind, inside } of objects) {
    if (kind === 'table' && 'flags' in inside) gaps.push('the table has flags');
    if (kind === 'chain') chainOf(inside, rules, bases, gaps);
    if (kind === 'set') sets.set(text(inside['name']), setOf(inside, gaps));
    if (!KNOWN.has(kind)) gaps.push(`${kind} ${text(inside['name'])} is an object that is not known here`);
  }
  for (const { kind, inside } of objects) {
    if (kind !== 'rule') continue;
    const chain = text(inside['chain']);
    const before = rules.get(chain);
    const place = `${chain}, rule ${(before?.length ?? 0) + 1} (handle ${String(inside['handle'])})`;
    const { expr } = inside;
    if (before === undefined || !Array.isArray(expr)) gaps.push(`${place} is in no chain, or empty`);
    else before.push({ place, statements: expr });
  }
  for (const hook of HOOKS) if (!bases.has(hook)) gaps.push(`no chain hangs on ${hook}`);
  return { bases, rules, sets, gaps };
}

const KNOWN = new Set(['table', 'chain', 'set', 'rule', 'counter']);

type Inside = TableObject['inside'];

function chainOf(
  inside: Inside,
  rules: Map<string, FrameRule[]>,
  bases: Map<FrameHook, string>,
  gaps: string[],
): void {
  const name = text(inside['name']);
  rules.set(name, []);
  const { hook, type, prio, policy } = inside;
  if (hook === undefined) return;
  const known = HOOKS.find((one) => one === hook);
  // One more at the same hook decides too.
  if (known !== undefined && bases.has(known)) gaps.push(`2 chains hang on ${known}`);
  if (known !== undefined) bases.set(known, name);
  // Later than this somebody else may have looked already; with another policy every other bridge would stand still.
  if (type !== 'filter' || known === undefined || prio !== -300 || policy !== 'accept')
    gaps.push(`chain ${name} hangs on ${text(hook)}, priority ${String(prio)}, policy ${text(policy)}`);
}

function setOf(inside: Inside, gaps: string[]): FrameElements {
  const { type, flags, elem } = inside;
  const name = text(inside['name']);
  const types = (Array.isArray(type) ? type : [type]).map(text);
  const known = flagsOf(flags).map(text);
  const dynamic = known.includes('timeout');
  if (known.some((flag) => flag !== 'timeout' && flag !== 'dynamic'))
    gaps.push(`set ${name} has ${known.join(', ')}`);
  if (!dynamic && (inside['timeout'] !== undefined || inside['stmt'] !== undefined))
    gaps.push(`set ${name} has statements or times in its elements`);
  const list: readonly unknown[] = Array.isArray(elem) ? elem : [];
  const elements = dynamic
    ? []
    : list.map((one): readonly unknown[] =>
        isRecord(one) && Array.isArray(one['concat']) ? one['concat'] : [one],
      );
  return { dynamic, types, elements };
}
