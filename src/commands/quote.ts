/** Enough to recognise it; an asker must not be able to flood a log or an answer. */
const LONGEST = 64;

/** Text of an asker for a log or a sentence: one line, no control characters (terminals obey them), never long. */
export function oneLine(text: string): string {
  const start = text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
  return start.replace(/\p{C}/gu, '\u{fffd}');
}

export function quoted(text: string): string {
  return `"${oneLine(text)}"`;
}
