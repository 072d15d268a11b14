import { type AccessChanges, compareAccess } from './access.ts';
import { evaluate } from './evaluate.ts';
import { ValueReader } from './field-value.ts';
import { type Listing, parseListing } from './listing.ts';
import { Naming } from './naming.ts';
import { PacketSpace } from './packet-space.ts';
import type { Policy } from './policy.ts';
import { wouldDeny } from './prove.ts';

/**
 * What a policy changes, compared with what rules accept without an objection: a listing of the kernel, or a document
 * that was generated. Without the policy that they were made of, what is lost has no line of a file to name.
 */
export function kernelAccess(
  rules: string,
  policy: Policy,
): { readonly access: AccessChanges } | { readonly unclear: string } {
  const space = new PacketSpace();
  const listing = parsed(rules, space);
  if (typeof listing === 'string') return { unclear: listing };
  for (const zone of policy.zones) space.interfaceNumber(zone.interface);
  const { accepted, gaps } = evaluate(space, listing, wouldDeny);
  const [gap] = gaps;
  if (gap !== undefined) return { unclear: `${gap.place} ${gap.what}` };
  const naming = new Naming(policy);
  const before = { flows: [], naming, accepted };
  return { access: compareAccess(space, before, { flows: policy.flows, naming }) };
}

function parsed(rules: string, space: PacketSpace): Listing | string {
  try {
    return parseListing(asListing(rules), new ValueReader((name) => space.interfaceNumber(name)));
  } catch {
    return 'it is no listing';
  }
}

/** What a document adds, as nft would list it. */
function asListing(rules: string): string {
  const document: unknown = JSON.parse(rules);
  if (typeof document !== 'object' || document === null || !('nftables' in document)) return rules;
  const { nftables } = document;
  if (!Array.isArray(nftables)) return rules;
  let tables = 0;
  const objects = nftables.flatMap((item: unknown): unknown[] => {
    if (typeof item !== 'object' || item === null || 'delete' in item) return [];
    const object: unknown = 'add' in item ? item.add : item;
    // A document adds its table twice: once to take it away, and once to fill it.
    const isTable = typeof object === 'object' && object !== null && 'table' in object;
    if (isTable) tables += 1;
    return isTable && tables > 1 ? [] : [object];
  });
  return JSON.stringify({ nftables: objects });
}
