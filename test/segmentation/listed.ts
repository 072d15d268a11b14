import type { Test } from 'tap';
import { compile } from '../../src/segmentation/compile.ts';
import { packetText } from '../../src/segmentation/packet.ts';
import type { Policy } from '../../src/segmentation/policy.ts';
import { mergedListings } from '../../src/segmentation/listing.ts';
import { type Proof, prove } from '../../src/segmentation/prove.ts';
import { render } from '../../src/segmentation/render.ts';
import { inNamespace } from '../support/namespace.ts';

/** Loads each document into a kernel, changes it with commands of nft, and gives back what the kernel lists then. */
export function listings(t: Test, documents: readonly { json: string; change: string }[]): string[] {
  const folder = t.testdir(
    Object.fromEntries(
      documents.flatMap(({ json, change }, i) => [
        [`${i}.json`, json],
        [`${i}.nft`, change],
      ]),
    ),
  );
  const script = `cd "$1"
i=0; while [ -f $i.json ]; do
  nft flush ruleset; nft -j -f $i.json; nft -f $i.nft
  nft -j list table inet sluice | tr -d '\\n'; printf '\\t'; nft -j list table bridge sluice 2>/dev/null | tr -d '\\n'; echo
  i=$((i+1))
done`;
  const ran = inNamespace(script, folder);
  if (ran.status !== 0) throw new Error(ran.stderr);
  return ran.stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => mergedListings(line.split('\t').filter((one) => one !== '')) ?? '');
}

/** The proof of a policy against what the compiler makes of it, after a change by hand. */
export function proofOf(t: Test, policy: Policy, change = ''): Proof {
  const [listing = ''] = listings(t, [{ json: render(compile(policy)), change }]);
  return prove(policy, listing);
}

/** A proof as lines for a person. */
export function told(proof: Proof): string[] {
  if (proof.proven) return [`proven with ${proof.witnesses.length} witnesses`];
  if ('notUnderstood' in proof) return proof.notUnderstood.map(({ place, what }) => `${place} ${what}`);
  if ('frames' in proof) {
    return proof.frames.map(({ frame, declared, rule }) =>
      [frame, declared ? 'declared' : 'not declared', `by ${rule}`].join(', '),
    );
  }
  return proof.differences.map(({ packet, declared, accepted, outcome, rule }) =>
    [
      packetText(packet),
      declared ? 'declared' : 'not declared',
      accepted ? outcome : 'dropped',
      `by ${rule}`,
    ].join(', '),
  );
}
