import { flowBoxes } from './declared.ts';
import { byZone } from './flows.ts';
import type { PacketSet } from './packet-set.ts';
import { PacketSpace } from './packet-space.ts';
import type { Flow } from './policy.ts';

// Who reaches whom may be the same as before, and yet they may do more, or less: what a guard lets pass. Packets are
// compared and not lines, as a conduit may stand elsewhere in the file, or another one may allow what it did.

/** Packets that were looked into in one way, and will be in another. */
export interface GuardChange {
  /** Place in the file of what allows them now. */
  readonly path: string;
  readonly before: string;
  readonly after: string;
}

const NO_GUARD = 'no guard';

export function changesOfGuards(before: readonly Flow[], after: readonly Flow[]): GuardChange[] {
  if (![...before, ...after].some(({ guard }) => guard !== undefined)) return [];
  const space = new PacketSpace();
  const [old, next] = [gradesOf(space, before), gradesOf(space, after)];
  return [...next].flatMap(([is, { all, lines }]) =>
    [...old].flatMap(([was, { all: then }]): GuardChange[] => {
      if (was === is || space.and(all, then) === space.nothing) return [];
      const paths = lines.filter(({ set }) => space.and(set, then) !== space.nothing).map(({ path }) => path);
      return [...new Set(paths)].map((path) => ({ path, before: was, after: is }));
    }),
  );
}

interface Graded {
  readonly all: PacketSet;
  readonly lines: readonly { readonly path: string; readonly set: PacketSet }[];
}

/** By what they are looked into with. Where a guarded line and another one meet, the guard comes first. */
function gradesOf(space: PacketSpace, flows: readonly Flow[]): Map<string, Graded> {
  const conduits = flows.filter(({ kind, protocol }) => kind === 'conduit' && protocol === 'tcp');
  const setOf = (flow: Flow): PacketSet => {
    const bare = { ...flow, guard: undefined, from: byZone(flow.from), to: byZone(flow.to) };
    return space.union(flowBoxes(bare, space).map((box) => space.set(box)));
  };
  const graded = conduits.map((flow) => ({ flow, set: setOf(flow) }));
  const guarded = space.union(graded.flatMap(({ flow, set }) => (flow.guard === undefined ? [] : [set])));
  const lines = graded.map(({ flow: { path, guard }, set }) => ({
    path,
    set: guard === undefined ? space.minus(set, guarded) : set,
    grade: guard === undefined ? NO_GUARD : `${guard.grade}: ${guard.limits}`,
  }));
  return new Map(
    [...Map.groupBy(lines, ({ grade }) => grade)].map(([grade, some]) => [
      grade,
      { all: space.union(some.map(({ set }) => set)), lines: some },
    ]),
  );
}
