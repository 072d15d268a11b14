import { objectsOf, type TableObject } from './canonical.ts';
import { isRecord, text } from './field.ts';

/** The table `bridge sluice` as nft lists it, as far as its evaluation needs it. */
export interface FrameListing {
  readonly base: string;
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
  const bases: string[] = [];
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
  const [base = ''] = bases;
  if (bases.length !== 1) gaps.push(`${bases.length} chains hang on a hook`);
  return { base, rules, sets, gaps };
}

const KNOWN = new Set(['table', 'chain', 'set', 'rule', 'counter']);

type Inside = TableObject['inside'];

function chainOf(inside: Inside, rules: Map<string, FrameRule[]>, bases: string[], gaps: string[]): void {
  const name = text(inside['name']);
  rules.set(name, []);
  const { hook, type, prio, policy } = inside;
  if (hook === undefined) return;
  bases.push(name);
  // Later than this somebody else may have looked already; with another policy every other bridge would stand still.
  if (type !== 'filter' || hook !== 'prerouting' || prio !== -300 || policy !== 'accept')
    gaps.push(`chain ${name} hangs on ${text(hook)}, priority ${String(prio)}, policy ${text(policy)}`);
}

function setOf(inside: Inside, gaps: string[]): FrameElements {
  const { type, flags, elem } = inside;
  const name = text(inside['name']);
  const types = (Array.isArray(type) ? type : [type]).map(text);
  const known: readonly string[] = Array.isArray(flags) ? flags.map(text) : [];
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
