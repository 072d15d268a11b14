import type { Deadband } from './config.ts';

type Span = { readonly low: number; readonly high: number } | undefined;

export const PERCENT = /^(\d{1,3}(?:\.\d{1,6})?)\s*%(?:\s+of\s+(value|span))?$/;
export const DEADBAND_EXAMPLES =
  'a width in the unit of the point such as 0.2, or a percentage such as 1%, "1% of span" or "1% of value"';

/** Percent without a word is of the span where there is one, else of the value. */
export function parseDeadband(given: number | string, span: Span): Deadband | string {
  if (typeof given === 'number') return { kind: 'absolute', width: given };
  const [, amount = '', of] = PERCENT.exec(given) ?? [];
  const percent = amount === '' ? Number.NaN : Number(amount);
  if (!(percent > 0 && percent <= 100)) return `write ${DEADBAND_EXAMPLES}`;
  if (of === 'span' && span === undefined) return 'give the span beside it, as in span: [0, 100]';
  if (of === 'value' || span === undefined) return { kind: 'value-percent', percent };
  return { kind: 'span-percent', width: ((span.high - span.low) * percent) / 100 };
}
