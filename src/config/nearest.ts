/**
 * The candidate that was probably meant: about a third of the letters may differ, one of a short word; or what it is
 * the beginning of.
 */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined;
  let limit = word.length <= 4 ? 1 : Math.max(2, Math.floor(word.length / 3));
  const wanted = word.toLowerCase();
  for (const candidate of candidates) {
    if (Math.abs(candidate.length - word.length) > limit) continue;
    const distance = editDistance(wanted, candidate.toLowerCase(), limit);
    if (distance > limit) continue;
    best = candidate;
    if (distance === 0) break;
    limit = distance - 1;
  }
  return best ?? (word.length < 3 ? undefined : candidates.find((candidate) => candidate.startsWith(word)));
}

/**
 * Letters to insert, delete, replace or swap with their neighbour (optimal string alignment). Beyond `limit` the answer
 * is only that it is more: a file with a thousand wrong names has a million pairs.
 */
export function editDistance(a: string, b: string, limit = Number.POSITIVE_INFINITY): number {
  let start = 0;
  while (start < a.length && a[start] === b[start]) start++;
  let [endA, endB] = [a.length, b.length];
  while (endA > start && endB > start && a[endA - 1] === b[endB - 1]) [endA, endB] = [endA - 1, endB - 1];
  return distanceOf(a.slice(start, endA), b.slice(start, endB), limit);
}

/** Only cells that can lie within the limit are looked at: a band along the diagonal (Ukkonen 1985). */
function distanceOf(a: string, b: string, limit: number): number {
  const beyond = Math.min(limit, a.length + b.length) + 1;
  if (Math.abs(a.length - b.length) >= beyond) return beyond; // the last cell lies outside the band
  let before: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  let row: number[] = [];
  for (let i = 1; i <= a.length; i++) {
    const from = Math.max(1, i - beyond);
    const to = Math.min(b.length, i + beyond);
    row[from - 1] = from === 1 ? i : beyond;
    for (let j = from; j <= to; j++) {
      const replaced = (previous[j - 1] ?? beyond) + (a[i - 1] === b[j - 1] ? 0 : 1);
      let cost = Math.min((previous[j] ?? beyond) + 1, (row[j - 1] ?? beyond) + 1, replaced);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        cost = Math.min(cost, (before[j - 2] ?? beyond) + 1);
      }
      row[j] = cost;
    }
    if (to < b.length) row[to + 1] = beyond;
    [before, previous, row] = [previous, row, before];
  }
  return Math.min(previous[b.length] ?? beyond, beyond);
}
