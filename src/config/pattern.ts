/** One level of a name, with `*` for any run of letters. */
const LEVEL = '[a-z0-9*][a-z0-9*-]{0,30}';

export const TELEMETRY_PATTERN = new RegExp(`^${LEVEL}/${LEVEL}$`);
export const EVENT_PATTERN = new RegExp(`^${LEVEL}$`);

/** Does the name fit the pattern? Without regular expressions, whose backtracking a pattern could exploit. */
export function matches(pattern: string, name: string): boolean {
  let p = 0;
  let n = 0;
  let star = -1;
  let resume = 0;
  while (n < name.length) {
    if (pattern[p] === '*') {
      star = p++;
      resume = n;
    } else if (p < pattern.length && pattern[p] === name[n]) {
      p++;
      n++;
    } else if (star >= 0) {
      p = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (pattern[p] === '*') p++;
  return p === pattern.length;
}
