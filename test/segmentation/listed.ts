import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { compile } from '../../src/segmentation/compile.ts';
import { packetText } from '../../src/segmentation/packet.ts';
import type { Policy } from '../../src/segmentation/policy.ts';
import { mergedListings } from '../../src/segmentation/listing.ts';
import { type Proof, prove } from '../../src/segmentation/prove.ts';
import { render } from '../../src/segmentation/render.ts';
import { inNamespace } from '../support/namespace.ts';

/** What both tables are in a kernel of its own after each list of steps; a step is JSON or text of nft. */
export function afterSteps(t: Test, cases: readonly (readonly string[])[]): (string | undefined)[] {
  // Several lists in one test: each has a folder of its own.
  const folder = mkdtempSync(join(tmpdir(), 'sluice-listed-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  for (const [i, steps] of cases.entries()) {
    for (const [k, step] of steps.entries()) writeFileSync(join(folder, `${i}.${k}`), step);
  }
  const script = `cd "$1"; i=0
while [ -f $i.0 ]; do
  nft flush ruleset; k=0
  while [ -f $i.$k ]; do
    case "$(head -c 1 $i.$k)" in
      '{') nft -j -f $i.$k || { echo "case $i, step $k" >&2; exit 1; } ;;
      *) nft -f $i.$k || { echo "case $i, step $k" >&2; exit 1; } ;;
    esac
    k=$((k+1))
  done
  for family in inet bridge; do nft -j list table $family sluice > $i.$family 2>/dev/null || : > $i.$family; done
  i=$((i+1))
done`;
  const ran = inNamespace(script, folder);
  if (ran.status !== 0) throw new Error(ran.stderr);
  return cases.map((_, i) =>
    mergedListings(
      ['inet', 'bridge']
        .map((family) => readFileSync(join(folder, `${i}.${family}`), 'utf8'))
        .filter((text) => text !== ''),
    ),
  );
}

/** Loads each document into a kernel, changes it with commands of nft, and gives back what the kernel lists then. */
export function listings(t: Test, documents: readonly { json: string; change: string }[]): string[] {
  return afterSteps(
    t,
    documents.map(({ json, change }) => [json, change]),
  ).map((listing) => listing ?? '');
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
