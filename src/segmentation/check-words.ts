import { NFT_CONSTANTS } from '../config/zones.ts';
import { listOf, literal, object, type Shape, text, whole } from './shape.ts';

// What the rules for packets and those for frames have in common.

/** Never a keyword of nft, whatever a zone is called. */
export const NAME = text(/^[a-z][a-z0-9]?_[a-z0-9_]+$/, 255);
export const REFERENCE = text(/^@[a-z][a-z0-9]?_[a-z0-9_]+$/, 256);
/** IFNAMSIZ of the kernel with its closing zero. */
export const INTERFACE = text(
  new RegExp(`^(?!(?:${NFT_CONSTANTS.join('|')})$)[A-Za-z0-9][A-Za-z0-9._@-]*$`),
  15,
);
export const ADDRESS = text(/^[0-9a-f.:]+$/, 39);
/** Whatever has sixteen bits on the wire. */
export const SHORT = whole(0, 65_535);

export const verdict = { accept: literal(null), drop: literal(null), goto: object({ target: NAME }) };
export const log = object({ group: SHORT, prefix: text(/^[a-z][a-z0-9 -]* $/, 127) });

type Family = 'inet' | 'bridge';
export const tableOf = (family: Family): Shape =>
  object({ family: literal(family), name: literal('sluice') });
/** Where an object is. */
export const insideOf = (family: Family): { readonly family: Shape; readonly table: Shape } => ({
  family: literal(family),
  table: literal('sluice'),
});

const LIMIT = object({
  limit: object({ rate: whole(1, 1_000), per: literal('second'), burst: whole(1, 1_000) }),
});
/** A set that remembers who had something to say, for as long as its rate wants it. */
export const updateOf = (field: Shape): Shape =>
  object({ op: literal('update'), elem: field, set: REFERENCE, stmt: listOf(LIMIT) });

export const remembering = {
  flags: listOf(literal('timeout')),
  timeout: whole(1, 2 ** 31),
  size: whole(1, 2 ** 31),
};
