import { createHash } from 'node:crypto';
import { isObject } from './request.ts';

const HEAD = '{"nftables":[';
const DIGEST = /^[0-9a-f]{64}$/;

/**
 * The same rules with a digest of all that follows in the first line, so that also a shell script tells whether they are
 * whole. nft takes what the first line holds for what a listing begins with. `of` is the digest of the rules that these
 * were made from, where they are not the same.
 */
export function sealed(document: string, of?: string): string {
  const rest = document.slice(HEAD.length + 1);
  const from = of === undefined ? '' : `"rules":"${of}",`;
  return `${HEAD}{"metainfo":{"json_schema_version":1,${from}"sha256":"${sha256(rest)}"}},\n${rest}`;
}

export interface Unsealed {
  readonly document: string;
  readonly of: string | undefined;
}

/** Undefined where it is not what was sealed: cut short, changed, or never sealed. */
export function unsealed(text: string): Unsealed | undefined {
  const end = text.indexOf('\n');
  const [head, rest] = [text.slice(0, end), text.slice(end + 1)];
  if (!head.startsWith(HEAD) || !head.endsWith(',')) return undefined;
  const info = infoOf(head.slice(HEAD.length, -1));
  if (info === undefined || info['sha256'] !== sha256(rest)) return undefined;
  const of = info['rules'];
  const isDigest = typeof of === 'string' && DIGEST.test(of);
  return { document: `${HEAD}\n${rest}`, of: isDigest ? of : undefined };
}

/** Whole JSON that was never sealed. */
export function isUnsealed(text: string): boolean {
  if (!text.startsWith(`${HEAD}\n`)) return false;
  try {
    return isObject(JSON.parse(text));
  } catch {
    return false;
  }
}

function infoOf(json: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const parsed: unknown = JSON.parse(json);
    const info = isObject(parsed) ? parsed['metainfo'] : undefined;
    return isObject(info) ? info : undefined;
  } catch {
    return undefined;
  }
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
