/** Numbers from `after`, exclusive, to `upto`, inclusive. Lists are ascending and do not overlap. */
export type Range = readonly [after: number, upto: number];

/** Adds a range to an ascending list, joining what touches. */
export function withRange(ranges: readonly Range[], added: Range): Range[] {
  return union([...ranges, added]);
}

/** Ranges in any order, which may overlap, as a list. */
export function union(ranges: readonly Range[]): Range[] {
  const joined: Range[] = [];
  for (const range of [...ranges].sort((a, b) => a[0] - b[0])) {
    if (range[1] <= range[0]) continue;
    const last = joined.at(-1);
    if (last !== undefined && range[0] <= last[1])
      joined[joined.length - 1] = [last[0], Math.max(last[1], range[1])];
    else joined.push(range);
  }
  return joined;
}

/** What lies above `position`. */
export function above(ranges: readonly Range[], position: number): Range[] {
  return ranges
    .filter(([, upto]) => upto > position)
    .map(([after, upto]) => [Math.max(after, position), upto]);
}

/** At most `most` ranges, by joining those that lie closest: the result may cover more, never less. */
export function atMost(ranges: readonly Range[], most: number): Range[] {
  const list = [...ranges];
  while (list.length > most) {
    let closest = 1;
    for (let i = 2; i < list.length; i++) if (distance(list, i) < distance(list, closest)) closest = i;
    const [from, to] = [list[closest - 1], list[closest]];
    if (from === undefined || to === undefined) break;
    list.splice(closest - 1, 2, [from[0], to[1]]);
  }
  return list;
}

function distance(list: readonly Range[], i: number): number {
  return (list[i]?.[0] ?? 0) - (list[i - 1]?.[1] ?? 0);
}

/** What lies in (0, upto] and in none of the ranges. */
export function complement(ranges: readonly Range[], upto: number): Range[] {
  const free: Range[] = [];
  let position = 0;
  for (const [after, end] of ranges) {
    if (after > position) free.push([position, Math.min(after, upto)]);
    position = Math.max(position, end);
  }
  if (upto > position) free.push([position, upto]);
  return free.filter(([after, end]) => end > after);
}
