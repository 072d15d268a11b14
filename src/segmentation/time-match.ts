import { epochMs } from '../core/units.ts';
import { isRecord } from './field.ts';
import type { Clock } from './field-value.ts';

// `meta time`: nft takes seconds since 1970, and lists them as text in the time zone it runs in, which is UTC here.

const LISTED = /^(\d{4}-\d{2}-\d{2}) (\d{2}:\d{2}:\d{2})$/;

export function isTime(left: unknown): boolean {
  return isRecord(left) && isRecord(left['meta']) && left['meta']['key'] === 'time';
}

/** Seconds since 1970; undefined where it is no moment. */
export function secondsOf(right: unknown): number | undefined {
  if (typeof right === 'number') return right;
  const [, day, time] = typeof right === 'string' ? (LISTED.exec(right) ?? []) : [];
  const ms = day === undefined ? Number.NaN : Date.parse(`${day}T${time}Z`);
  return Number.isNaN(ms) ? undefined : ms / 1_000;
}

/** Whether the condition holds now; undefined where it is none that is known here. */
export function holdsAt(op: unknown, right: unknown, { now, moments }: Clock): boolean | undefined {
  const seconds = secondsOf(right);
  if (seconds === undefined) return undefined;
  const moment = epochMs(seconds * 1_000);
  if (!moments.has(moment)) return undefined;
  if (op === '>=') return now >= moment;
  return op === '<' ? now < moment : undefined;
}
