import type { PointValue } from '../core/batch.ts';
import { type EpochMs, epochMs } from '../core/units.ts';
import { quoted } from './quote.ts';
import { type Refusal, refusal } from './refusal.ts';

/** Room for the longest text that registers hold (246 characters), escaped, and an id; nothing more is a command. */
export const MAX_PAYLOAD = 4_096;
export const MAX_ID = 64;

/** What an asker sent. */
export interface Wish {
  readonly id: string;
  readonly value: PointValue;
  /** Not to be carried out at or after this moment. */
  readonly expires: EpochMs | undefined;
}

export type Parsed =
  | { readonly ok: true; readonly wish: Wish }
  /** `id` is empty where none could be read. */
  | { readonly ok: false; readonly id: string; readonly refusal: Refusal };

const KEYS = new Set(['id', 'value', 'expires']);
const EXAMPLE = 'send {"id":"7f","value":true}';
const strictUtf8 = new TextDecoder('utf-8', { fatal: true });
/** RFC 3339 with an offset: without one it would mean another moment on every machine. */
const MOMENT = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})$/;
/** The strings of a JSON text, from left to right; group 1 is there where the string is a key. */
const STRINGS = /"(?:[^"\\]|\\.)*"(\s*:)?/g;

/** The payload of a command (DESIGN 5.3). Strict: whatever is not understood could have changed the meaning. */
export function parseCommand(payload: Uint8Array): Parsed {
  if (payload.length > MAX_PAYLOAD) {
    return no(
      '',
      'too large',
      `the command is ${payload.length} bytes long; at most ${MAX_PAYLOAD} are read`,
    );
  }
  const [text, found] = readJson(payload);
  if (text === undefined) return no('', 'malformed', `the command is not JSON in UTF-8; ${EXAMPLE}`);
  if (typeof found !== 'object' || found === null || Array.isArray(found)) {
    return no('', 'malformed', `the command is not a JSON object; ${EXAMPLE}`);
  }
  const fields = new Map<string, unknown>(Object.entries(found));

  const id = fields.get('id');
  if (typeof id !== 'string' || !isId(id)) {
    return no('', 'malformed', `"id" must be a text of 1 to ${MAX_ID} characters; ${EXAMPLE}`);
  }
  const unknown = [...fields.keys()].find((key) => !KEYS.has(key));
  if (unknown !== undefined) {
    return no(
      id,
      'malformed',
      `the key ${quoted(unknown)} is unknown; there are "id", "value" and "expires"`,
    );
  }
  if (keysIn(text) !== fields.size)
    return no(id, 'malformed', 'a key stands twice; which one is meant is unclear');

  const value = fields.get('value');
  if (typeof value !== 'number' && typeof value !== 'boolean' && typeof value !== 'string') {
    return no(id, 'malformed', `"value" must be a number, true, false or a text; ${EXAMPLE}`);
  }
  if (typeof value === 'number' && !Number.isFinite(value)) {
    return no(id, 'malformed', '"value" is beyond what a number can hold');
  }
  const expires = fields.has('expires') ? moment(fields.get('expires')) : undefined;
  if (fields.has('expires') && expires === undefined) {
    return no(
      id,
      'malformed',
      '"expires" must be milliseconds since 1970 or a text such as "2026-01-02T03:04:05Z"',
    );
  }
  return { ok: true, wish: { id, value, expires } };
}

function readJson(payload: Uint8Array): readonly [text: string | undefined, found: unknown] {
  try {
    const text = strictUtf8.decode(payload);
    const found: unknown = JSON.parse(text);
    return [text, found];
  } catch {
    return [undefined, undefined];
  }
}

function isId(id: string): boolean {
  return id.length >= 1 && id.length <= MAX_ID && !/\p{Cc}/u.test(id);
}

/** JSON.parse takes the last of two equal keys; somebody else on the way may have looked at the first. */
function keysIn(text: string): number {
  let keys = 0;
  for (const [, colon] of text.matchAll(STRINGS)) if (colon !== undefined) keys += 1;
  return keys;
}

function moment(found: unknown): EpochMs | undefined {
  if (typeof found === 'number' && Number.isSafeInteger(found) && found >= 0) return epochMs(found);
  if (typeof found !== 'string' || !MOMENT.test(found)) return undefined;
  const parsed = Date.parse(found);
  return Number.isNaN(parsed) ? undefined : epochMs(parsed);
}

function no(id: string, key: 'too large' | 'malformed', because: string): Parsed {
  return { ok: false, id, refusal: refusal(key, because) };
}
