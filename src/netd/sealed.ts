import { createHash } from 'node:crypto';

const HEAD = '{"nftables":[';

/**
 * The same rules with a digest of all that follows in the first line, so that a shell script tells whether they are
 * whole. nft takes what the first line holds for what a listing begins with.
 */
export function sealed(document: string): string {
  const rest = document.slice(HEAD.length + 1);
  const sha256 = createHash('sha256').update(rest).digest('hex');
  return `${HEAD}{"metainfo":{"json_schema_version":1,"sha256":"${sha256}"}},\n${rest}`;
}
