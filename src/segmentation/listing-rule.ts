import { ofFamily } from './boxes.ts';
import { type Field, fieldOf, hasOnly, isPayload, isRecord, short, text } from './field.ts';
import { ORDERED, type ValueReader } from './field-value.ts';
import { holdsAt, isTime } from './time-match.ts';
import { ICMP, ICMPV6 } from './packet.ts';
import { type Elements, elementsOf, type Verdict, VerdictReader } from './listing-set.ts';

/** `outside` is "not equal" and "not in". */
export type Comparison = 'inside' | 'outside' | 'below' | 'above';

/** Values that stand in the rule itself, or the name of a set. */
export type Source = { readonly inline: Elements } | { readonly set: string };

export type Statement =
  | {
      readonly kind: 'match';
      readonly fields: readonly Field[];
      readonly how: Comparison;
      readonly values: Source;
    }
  | { readonly kind: 'vmap'; readonly fields: readonly Field[]; readonly values: Source }
  | { readonly kind: 'verdict'; readonly verdict: Verdict }
  /** Leads a connection to a port of the gateway, for keys that a map of ports has. */
  | { readonly kind: 'redirect'; readonly fields: readonly Field[]; readonly map: string }
  /** Where a filter looks at what each segment carries, which no set of packets says; see filter-block.ts. */
  | { readonly kind: 'filter'; readonly fields: readonly Field[] }
  /** Counts or logs; `counter` is its name where it has one. */
  | { readonly kind: 'note'; readonly counter: string }
  /** A condition that no packet meets now. */
  | { readonly kind: 'never' }
  /** Ends the rule for some packets by what is not in the packet: a rate, room in a set. */
  | { readonly kind: 'chance'; readonly what: string; readonly writes: string };

const DROP: Verdict = { kind: 'drop' };
const LIMIT_KEYS = ['rate', 'burst', 'per', 'inv', 'rate_unit', 'burst_unit'];

/** The statements of one rule; `complain` hears of each that is not understood, and those are left out. */
export function statementsOf(
  expressions: readonly unknown[],
  values: ValueReader,
  complain: (what: string) => void,
): readonly Statement[] {
  const statements: Statement[] = [];
  for (const expression of expressions) {
    const read = isRecord(expression) ? (rejectOf(expression) ?? statementOf(expression, values)) : undefined;
    if (read === undefined) complain(`says ${short(expression, 400)}`);
    else statements.push(...[read].flat());
  }
  if (statements.filter(isBareDenial).length > 1) complain('has two "not equal", which nft may have joined');
  // The kernel goes on behind "continue", also one that a map gives, with the rest of the same rule.
  const end = statements.findIndex(isEnd);
  if (end >= 0 && end < statements.length - 1) complain('goes on behind what decides');
  return statements;
}

const isEnd = ({ kind }: Statement): boolean => kind === 'verdict' || kind === 'vmap' || kind === 'redirect';

/**
 * Of two neighbours in a header, nft 1.0.6 makes one comparison: "ip saddr != A ip daddr != B" is loaded as "not both",
 * and listed as it was written.
 */
function isBareDenial(statement: Statement): boolean {
  if (statement.kind !== 'match' || statement.how !== 'outside' || 'set' in statement.values) return false;
  return statement.fields.some(isPayload);
}

function statementOf(json: Readonly<Record<string, unknown>>, values: ValueReader): Statement | undefined {
  const [kind, more] = Object.keys(json);
  if (kind === undefined || more !== undefined) return undefined;
  const inside = json[kind];
  switch (kind) {
    case 'match':
      return isRecord(inside) ? matchOf(inside, values) : undefined;
    case 'vmap':
      return isRecord(inside) ? vmapOf(inside, values) : undefined;
    case 'redirect':
      return isRecord(inside) ? redirectOf(inside) : undefined;
    case 'counter':
      return counterOf(inside);
    case 'log':
      return inside === null || isRecord(inside) ? { kind: 'note', counter: '' } : undefined;
    case 'limit':
      return isRecord(inside) && hasOnly(inside, LIMIT_KEYS) ? chance('limit') : undefined;
    case 'set':
      return isRecord(inside) ? updateOf(inside) : undefined;
    default: {
      const verdict = new VerdictReader().read(json);
      return verdict === undefined ? undefined : { kind: 'verdict', verdict };
    }
  }
}

/** nft leaves out of the listing what the rule asks of the family before a reject of one kind: it surely is for nobody. */
const ANSWERED: Field = {
  text: 'whom a reject answers',
  dimension: 'protocol',
  type: 'inet_proto',
  guard: { protocol: [] },
  leastGuard: {},
};
const REJECTS: ReadonlySet<unknown> = new Set(['icmp', 'icmpv6', 'tcp reset']);

/** A drop, of those packets that can be answered so; `icmpx` is for both families. */
function rejectOf({ reject, ...more }: Readonly<Record<string, unknown>>): readonly Statement[] | undefined {
  if (!isRecord(reject) || Object.keys(more).length > 0 || !hasOnly(reject, ['type', 'expr']))
    return undefined;
  const drop: Statement = { kind: 'verdict', verdict: DROP };
  if (!REJECTS.has(reject['type'])) return reject['type'] === 'icmpx' ? [drop] : undefined;
  const values = { inline: { elements: [], gaps: [] } };
  return [{ kind: 'match', fields: [ANSWERED], how: 'outside', values }, drop];
}

function chance(what: string, writes = ''): Statement {
  return { kind: 'chance', what, writes };
}

/** A counter looked up in a map ends the rule where the map has none for the packet. */
function counterOf(inside: unknown): Statement | undefined {
  if (inside === null) return { kind: 'note', counter: '' };
  if (typeof inside === 'string') return { kind: 'note', counter: inside };
  if (!isRecord(inside)) return undefined;
  if ('map' in inside) return hasOnly(inside, ['map']) ? chance('counter by a map') : undefined;
  return hasOnly(inside, ['packets', 'bytes', 'family', 'table', 'name'])
    ? { kind: 'note', counter: text(inside['name']) }
    : undefined;
}

/** `update @set { … }`: a full set, or the limit behind it, ends the rule. */
function updateOf(inside: Readonly<Record<string, unknown>>): Statement | undefined {
  const { op, set } = inside;
  if ((op !== 'add' && op !== 'update') || typeof set !== 'string') return undefined;
  return hasOnly(inside, ['op', 'elem', 'set', 'stmt'])
    ? chance('update of a set', set.replace(/^@/, ''))
    : undefined;
}

function redirectOf(inside: Readonly<Record<string, unknown>>): Statement | undefined {
  const { port } = inside;
  const map = isRecord(port) && hasOnly(port, ['map']) ? port['map'] : undefined;
  if (!isRecord(map) || !hasOnly(inside, ['port']) || !hasOnly(map, ['key', 'data'])) return undefined;
  const [fields, data] = [keyFields(map['key']), text(map['data'])];
  return fields !== undefined && data.startsWith('@')
    ? { kind: 'redirect', fields, map: data.slice(1) }
    : undefined;
}

function keyFields(json: unknown): readonly Field[] | undefined {
  if (!isRecord(json)) return undefined;
  const parts: readonly unknown[] =
    Array.isArray(json['concat']) && hasOnly(json, ['concat']) ? json['concat'] : [json];
  const fields: Field[] = [];
  for (const part of parts) {
    const field = isRecord(part) ? fieldOf(part) : undefined;
    if (field === undefined) return undefined;
    fields.push(field);
  }
  // The same thing twice in one key would be two conditions on one dimension.
  const dimensions = new Set(fields.map((field) => field.dimension));
  return dimensions.size === fields.length && fields.length > 0 ? fields : undefined;
}

function vmapOf(inside: Readonly<Record<string, unknown>>, values: ValueReader): Statement | undefined {
  const fields = keyFields(inside['key']);
  if (fields === undefined || !hasOnly(inside, ['key', 'data'])) return undefined;
  const source = sourceOf(inside['data'], fields, true, values);
  return source === undefined ? undefined : { kind: 'vmap', fields, values: source };
}

function matchOf(inside: Readonly<Record<string, unknown>>, values: ValueReader): Statement | undefined {
  if (isTime(inside['left'])) return timeMatchOf(inside, values);
  const fields = keyFields(inside['left']);
  if (fields === undefined || !hasOnly(inside, ['op', 'left', 'right'])) return undefined;
  const { op, right } = inside;
  switch (op) {
    case 'in':
      return bitTest(fields, right, values);
    case '==':
    case '!=': {
      // A list without braces is a mask of bits to nft, not a set. A range without braces may be a lie: nft 1.0.6 lists
      // "ip saddr >= A ip daddr <= B" as "ip daddr A-B", and "< A" with "> B", which nothing is, as "!= A-B".
      if (Array.isArray(right) || (isRecord(right) && 'range' in right)) return undefined;
      const source = sourceOf(right, fields, false, values);
      if (source === undefined) return undefined;
      if (op === '!=') return { kind: 'match', fields, how: 'outside', values: source };
      return { kind: 'match', fields: ofIcmp(fields, source), how: 'inside', values: source };
    }
    default:
      return orderOf(fields, op, right, values);
  }
}

/** Before "meta l4proto icmp" nft leaves out of the listing that the rule asks for IPv4, and so with ICMPv6. */
function ofIcmp([field, ...more]: readonly Field[], source: Source): readonly Field[] {
  const all = field === undefined ? more : [field, ...more];
  const [element, ...others] = 'inline' in source ? source.inline.elements : [];
  const value = element?.key[0]?.low;
  const isOne = more.length === 0 && others.length === 0;
  if (field?.text !== 'l4proto' || !isOne || (value !== ICMP && value !== ICMPV6)) return all;
  return [{ ...field, guard: { family: ofFamily(value === ICMP ? 'ipv4' : 'ipv6') }, leastGuard: {} }];
}

/** The clock is the same for all packets: what it decides is known for each time that a proof is made for. */
function timeMatchOf(
  inside: Readonly<Record<string, unknown>>,
  { clock }: ValueReader,
): Statement | undefined {
  if (clock === undefined || !hasOnly(inside, ['op', 'left', 'right'])) return undefined;
  const holds = holdsAt(inside['op'], inside['right'], clock);
  if (holds === undefined) return undefined;
  return holds ? { kind: 'note', counter: '' } : { kind: 'never' };
}

/** `ct state established,related`: the packet has one of them. Its state is one bit, so this is "in a set". */
function bitTest(fields: readonly Field[], right: unknown, values: ValueReader): Statement | undefined {
  const [field] = fields;
  if (fields.length !== 1 || field?.type !== 'ct_state') return undefined;
  const inline = elementsOf(Array.isArray(right) ? right : [right], [field.type], false, values);
  return inline.gaps.length > 0 ? undefined : { kind: 'match', fields, how: 'inside', values: { inline } };
}

function orderOf(
  fields: readonly Field[],
  op: unknown,
  right: unknown,
  values: ValueReader,
): Statement | undefined {
  const [field] = fields;
  if (fields.length !== 1 || field === undefined || !ORDERED.has(field.type)) return undefined;
  const limit = typeof right === 'object' ? undefined : values.interval(field.type, right);
  if (limit === undefined) return undefined;
  const { low } = limit;
  const inline = { elements: [{ key: [limit], verdict: undefined }], gaps: [] };
  switch (op) {
    case '<':
      return { kind: 'match', fields, how: 'below', values: { inline } };
    case '>':
      return { kind: 'match', fields, how: 'above', values: { inline } };
    case '<=':
    case '>=': {
      const next = step(low, op === '<=');
      const moved = { elements: [{ key: [{ low: next, high: next }], verdict: undefined }], gaps: [] };
      return { kind: 'match', fields, how: op === '<=' ? 'below' : 'above', values: { inline: moved } };
    }
    default:
      return undefined;
  }
}

function step(value: number | bigint, up: boolean): number | bigint {
  if (typeof value === 'bigint') return up ? value + 1n : value - 1n;
  return up ? value + 1 : value - 1;
}

function sourceOf(
  json: unknown,
  fields: readonly Field[],
  isMap: boolean,
  values: ValueReader,
): Source | undefined {
  if (typeof json === 'string' && json.startsWith('@')) return { set: json.slice(1) };
  const types = fields.map((field) => field.type);
  if (isRecord(json) && 'set' in json) {
    if (!hasOnly(json, ['set'])) return undefined;
    const list = Array.isArray(json['set']) ? json['set'] : [json['set']];
    const inline = elementsOf(list, types, isMap, values);
    return inline.gaps.length > 0 ? undefined : { inline };
  }
  if (isMap) return undefined;
  const inline = elementsOf([json], types, false, values);
  return inline.gaps.length > 0 ? undefined : { inline };
}
