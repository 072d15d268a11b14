/** Sequence numbers that will not be sent (again), both inclusive. */
export interface Gap {
  readonly from: number;
  readonly to: number;
  readonly reason: string;
}

/** Gaps that wait to be told; beyond it the closest are joined, which tells more than was given up, never less. */
const MAX_GAPS = 256;

/** Adds a gap to an ascending list, joining it with neighbours of the same reason. */
export function withGap(gaps: readonly Gap[], added: Gap): Gap[] {
  if (added.to < added.from) return [...gaps];
  const all = [...gaps, added].sort((a, b) => a.from - b.from);
  const joined: Gap[] = [];
  for (const gap of all) {
    const last = joined.at(-1);
    if (last !== undefined && last.reason === gap.reason && gap.from <= last.to + 1)
      joined[joined.length - 1] = { from: last.from, to: Math.max(last.to, gap.to), reason: last.reason };
    else joined.push(gap);
  }
  while (joined.length > MAX_GAPS) joinClosest(joined);
  return joined;
}

function joinClosest(gaps: Gap[]): void {
  const distance = (i: number): number => (gaps[i]?.from ?? 0) - (gaps[i - 1]?.to ?? 0);
  let closest = 1;
  for (let i = 2; i < gaps.length; i++) if (distance(i) < distance(closest)) closest = i;
  const [first, second] = [gaps[closest - 1], gaps[closest]];
  if (first === undefined || second === undefined) return;
  gaps.splice(closest - 1, 2, {
    from: first.from,
    to: Math.max(first.to, second.to),
    reason: second.reason,
  });
}

/** The gaps that the text of a gap row tells. */
export function gapsIn(text: string): Gap[] {
  const gaps: Gap[] = [];
  for (const line of text.split('\n')) {
    const found = /"gap":\{"from":(\d+),"to":(\d+),"reason":"([^"]*)"\}/.exec(line);
    if (found !== null) gaps.push({ from: Number(found[1]), to: Number(found[2]), reason: found[3] ?? '' });
  }
  return gaps;
}
