import { serviceName } from '../config/services.ts';
import { SluiceError } from '../core/errors.ts';
import { visible } from '../core/visible.ts';
import { type Access, type AccessChanges, changesOfAccess } from '../segmentation/access.ts';
import { accessText } from '../segmentation/access-text.ts';
import { kernelAccess } from '../segmentation/kernel-access.ts';
import type { Policy } from '../segmentation/policy.ts';
import { policyOfText } from '../segmentation/policy-file.ts';
import { changesOfStructure, EVERYWHERE, type StructureChange } from '../segmentation/structure.ts';
import type { Known } from './outcome.ts';
import type { Told } from './tell.ts';

// Who gains and who loses access, for people; changes nothing.

const NO_RULES: Policy = { mode: 'off', zones: [], flows: [] };

interface Plan {
  /** What the file is compared with. */
  readonly against: 'confirmed' | 'nothing';
  readonly structure: readonly StructureChange[];
  readonly access: AccessChanges;
  /** What passed before without a line, and goes on because of one. */
  readonly still: readonly Access[];
  readonly turn: Turn;
  /** The change that waits to be confirmed. */
  readonly waiting: string | undefined;
  /** What the file changes compared with the kernel, where that does not hold what was confirmed. */
  readonly kernel: KernelPlan | undefined;
}

/** What becomes of everything that no line speaks of. */
type Turn = 'closes' | 'opens' | 'stays open' | 'stays closed';

type KernelPlan = { readonly holds: 'waiting' | 'something else' } & (
  | { readonly access: AccessChanges }
  | { readonly unclear: string }
);

export function planTold(known: Known, policy: Policy): Told {
  const plan = planOf(known, policy);
  return { result: forMachine(plan), text: forPerson(plan), good: true };
}

export function planOf(known: Known, policy: Policy): Plan {
  const { confirmed, waiting } = known;
  const before = confirmed && policyOfText(confirmed.policy ?? '', confirmed.digest);
  const kernel = kernelPlan(known, policy);
  if (confirmed !== undefined && before === undefined) {
    // Rules of an older version: what they accept is told by themselves.
    const own = kernelAccess(confirmed.rules, policy);
    if ('unclear' in own)
      throw new SluiceError('SETUP', `the confirmed rules are not understood: ${own.unclear}`);
    return {
      against: 'confirmed',
      structure: [],
      access: own.access,
      still: [],
      turn: 'stays closed',
      waiting,
      kernel,
    };
  }
  const [from, turn] = [before ?? NO_RULES, turnOf(before ?? NO_RULES, policy)];
  const { gained, lost } = changesOfAccess(from, policy);
  const goesOn = turn === 'closes' || from.mode === 'off';
  return {
    against: confirmed === undefined ? 'nothing' : 'confirmed',
    structure: changesOfStructure(before, policy),
    access: { gained: goesOn ? [] : gained, lost: policy.mode === 'off' ? [] : lost },
    still: goesOn ? gained : [],
    turn,
    waiting,
    kernel,
  };
}

function turnOf(before: Policy, after: Policy): Turn {
  const [was, is] = [before.mode === 'enforce', after.mode === 'enforce'];
  if (was === is) return is ? 'stays closed' : 'stays open';
  return is ? 'closes' : 'opens';
}

/** Undefined where nobody may ask the kernel, or it holds what was confirmed. */
function kernelPlan({ kernel }: Known, policy: Policy): KernelPlan | undefined {
  if (kernel === 'not permitted' || kernel.holds === 'confirmed') return undefined;
  const holds = kernel.holds === 'waiting' ? 'waiting' : 'something else';
  if (kernel.listing === undefined) return { holds, unclear: 'it has no table inet sluice' };
  return { holds, ...kernelAccess(kernel.listing, policy) };
}

export function forPerson(plan: Plan): string {
  const lines = [...introOf(plan), ...linesOf(plan), ...kernelLines(plan)];
  return lines.map((line) => `${visible(line)}\n`).join('');
}

const TURNS: Readonly<Record<Turn, readonly string[]>> = {
  closes: ['  up to now everything passes; from then on what no line of the file allows is denied'],
  opens: ['  what is denied up to now passes from then on'],
  'stays open': ['  nothing is denied before or after: what no line allows is at most told of'],
  'stays closed': [],
};

function introOf(plan: Plan): string[] {
  const than =
    plan.against === 'confirmed' ? 'the rules that are confirmed' : 'no rules, as none were ever confirmed';
  if (!changes(plan)) return [`nothing changes, compared with ${than}`];
  return [`compared with ${than}:`, ...TURNS[plan.turn]];
}

const changes = ({ structure, access, still }: Plan): boolean =>
  structure.length + access.gained.length + access.lost.length + still.length > 0;

/** Of one line of the file, and of what is there beside packets; programs get all of them. */
const MOST_LINES = 24;

/** Where nothing is denied, nobody gains or loses anything but what a later `enforce` would make of it. */
const VERBS = {
  acts: { lost: 'may no longer reach', gained: 'may reach' },
  tells: { lost: 'would no longer be allowed to reach', gained: 'would be allowed to reach' },
} as const;

function linesOf({
  structure,
  access,
  still,
  turn,
}: Pick<Plan, 'structure' | 'access' | 'still' | 'turn'>): string[] {
  const { gained, lost } = access;
  const verbs = VERBS[turn === 'opens' || turn === 'stays open' ? 'tells' : 'acts'];
  return [
    ...some(structure, ({ what }) => what, structureText, '~'),
    ...some(lost, placeOf, (one) => accessText(one, verbs.lost), '-'),
    ...some(still, placeOf, (one) => accessText(one, 'may still reach'), '='),
    ...some(gained, placeOf, (one) => accessText(one, verbs.gained), '+'),
  ];
}

const placeOf = ({ path = '' }: Access): string => path;

/** The first of each group, and how many more there are. */
function some<T>(
  all: readonly T[],
  group: (one: T) => string,
  text: (one: T) => string,
  sign: string,
): string[] {
  return [...Map.groupBy(all, group)].flatMap(([name, own]) => {
    const more = own.length - MOST_LINES;
    const lines = (more > 1 ? own.slice(0, MOST_LINES) : own).map((one) => `${sign} ${text(one)}`);
    return more > 1
      ? [...lines, `${sign} and ${more} more${name === '' ? '' : ` of ${name}`}: --json tells them`]
      : lines;
  });
}

function structureText({ what, zone, name = '', conduit, before, after }: StructureChange): string {
  switch (what) {
    case 'mode':
      return `mode ${before} becomes ${after}`;
    case 'zone':
      return before === undefined ? `zone ${zone} is new: ${after}` : `zone ${zone} is gone: ${before}`;
    case 'interface':
    case 'addresses':
      return `zone ${zone}: ${what} ${before} becomes ${after}`;
    case 'guard':
      return `${conduit}: guard, ${before}; becomes ${after}`;
    case 'observing':
      return observingText(name, before, after);
    case 'port':
    case 'mac':
      if (before === undefined) return `${what} ${name} is guarded: ${after}`;
      return after === undefined
        ? `${what} ${name} is no longer guarded: ${before}`
        : `${what} ${name}: ${before}; becomes ${after}`;
    default:
      return what satisfies never;
  }
}

function observingText(name: string, before: string | undefined, after: string | undefined): string {
  if (name === EVERYWHERE) {
    if (after === undefined) return `mode observe has no end any more, which was ${before}`;
    return `mode observe ends ${after}${before === undefined ? '' : ` and not ${before}`}: from then on what no line allows is denied`;
  }
  if (after === undefined)
    return `${name}: what no line allows is denied again; it was to pass until ${before}`;
  return `${name}: what no line allows passes until ${after}${before === undefined ? '' : ` and not ${before}`}`;
}

function kernelLines({ kernel, waiting, against, turn }: Plan): string[] {
  const waits = waiting === undefined ? undefined : `change ${waiting} waits to be confirmed`;
  if (kernel === undefined) return waits === undefined ? [] : [waits];
  const than =
    against === 'nothing'
      ? 'rules that were never confirmed'
      : 'something else than the rules that are confirmed';
  const head =
    kernel.holds === 'waiting'
      ? `${waits}, and is what the kernel holds`
      : `${waits === undefined ? '' : `${waits}; `}the kernel holds ${than}`;
  if ('unclear' in kernel) return [`${head}: ${kernel.unclear}`];
  const lines = linesOf({ structure: [], access: kernel.access, still: [], turn });
  return lines.length === 0
    ? [`${head}; it accepts what the file declares`]
    : [`${head}; compared with it:`, ...lines];
}

export function forMachine(plan: Plan): object {
  const { against, structure, access, still, turn, waiting, kernel } = plan;
  return {
    against,
    changes: changes(plan),
    turn,
    structure: structure.map(({ zone, name, conduit, before, after, what }) => ({
      what,
      zone: zone ?? null,
      ...(name !== undefined && { name }),
      ...(conduit !== undefined && { conduit }),
      before: before ?? null,
      after: after ?? null,
    })),
    ...accessFor(access),
    still: still.map(recordOf),
    waiting: waiting ?? null,
    kernel:
      kernel === undefined
        ? null
        : 'unclear' in kernel
          ? { unclear: kernel.unclear }
          : accessFor(kernel.access),
  };
}

const accessFor = ({ gained, lost }: AccessChanges): object => ({
  lost: lost.map(recordOf),
  gained: gained.map(recordOf),
});

const recordOf = ({ from, to, traffic, path, because, more }: Access): object => ({
  from,
  to,
  traffic:
    traffic?.map((one) => ({
      protocol: one.protocol,
      ports: one.protocol.startsWith('icmp') ? null : one.ports,
      service: serviceName(one) ?? null,
    })) ?? null,
  path: path ?? null,
  because: because ?? null,
  ...(more === true && { more }),
});
