import { spawnSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { epochMs } from '../../src/core/units.ts';
import { holds } from '../../src/netd/bring.ts';
import { type Proof, prove } from '../../src/segmentation/prove.ts';
import { policyOf } from '../segmentation/policies.ts';
import { be, type Check } from './check.ts';

/** Every golden folder: the kernel takes it, lists it as it was written, and the proof follows from the listing. */
export async function rules(check: Check): Promise<void> {
  const folders = globSync('test/golden/segmentation/*/gateway.yaml')
    .toSorted()
    .map((file) => dirname(file));
  const documents = folders.map((folder) => readFileSync(join(folder, 'ruleset.json'), 'utf8'));
  let listings: readonly string[] = [];
  await check(`the kernel takes all ${folders.length} golden rulesets`, () => {
    listings = listed(documents);
    be(listings.length === folders.length, `it listed ${listings.length}`);
  });
  for (const [i, folder] of folders.entries()) {
    await check(`golden ${basename(folder)}`, () => {
      const listing = listings[i] ?? '';
      be(holds(listing, documents[i] ?? ''), 'the listing is not what was loaded');
      const policy = policyOf(readFileSync(join(folder, 'gateway.yaml'), 'utf8'));
      if (policy.mode === 'off') return 'nothing to prove';
      return proven(prove(policy, listing, epochMs(Date.now())));
    });
  }
}

function listed(documents: readonly string[]): string[] {
  const { status, stdout, stderr } = spawnSync('python3', ['test/vm/nft.py'], {
    encoding: 'utf8',
    input: documents.map((document) => `${document.replaceAll('\n', ' ')}\n`).join(''),
    maxBuffer: 64 * 1_024 * 1_024,
  });
  be(status === 0, stderr);
  return stdout.trim().split('\n');
}

export function proven(proof: Proof): string {
  if (proof.proven) return `proven, ${proof.boxes} boxes`;
  throw new Error(
    JSON.stringify(proof, (_, value: unknown) => (typeof value === 'bigint' ? `${value}` : value)),
  );
}
