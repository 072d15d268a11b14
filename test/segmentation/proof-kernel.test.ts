import { globSync, readFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import * as fc from 'fast-check';
import t from 'tap';
import { seedOf } from '../support/long.ts';
import { compile } from '../../src/segmentation/compile.ts';
import { prove } from '../../src/segmentation/prove.ts';
import { render } from '../../src/segmentation/render.ts';
import { noRules } from '../support/namespace.ts';
import { anyPolicy } from './any-policy.ts';
import { listings, proofOf, told } from './listed.ts';
import { policyOf } from './policies.ts';

// What the compiler makes of a policy, loaded into a kernel and listed again, against the policy itself.
const skip = noRules();

/** How many random policies; more by night. */
const SEED = seedOf('PROOF_SEED', 7);
const RUNS = Number(process.env['PROOF_RUNS'] ?? '12');

for (const file of globSync('test/golden/segmentation/*/gateway.yaml').toSorted()) {
  t.test(`proven: ${basename(dirname(file)).replaceAll('-', ' ')}`, { skip }, (t) => {
    const policy = policyOf(readFileSync(file, 'utf8'));
    if (policy.mode === 'off') {
      t.equal(prove(policy, '{"nftables":[]}').proven, true);
      t.end();
      return;
    }
    for (const mode of ['enforce', 'observe'] as const) {
      const proof = proofOf(t, { ...policy, mode });
      t.equal(proof.proven, true, `${mode}: ${told(proof).slice(0, 3).join('; ')}`);
      if (!proof.proven) continue;
      for (const { name } of policy.flows)
        t.ok(
          proof.witnesses.some(({ flow }) => flow === name),
          name,
        );
    }
    t.end();
  });
}

t.test('whatever is declared, what the kernel holds is proven to be that', { skip }, (t) => {
  const policies = fc.sample(anyPolicy, { numRuns: RUNS, seed: SEED });
  const documents = policies.map((policy) => ({ json: render(compile(policy)), change: '' }));
  const listed = listings(t, documents);

  for (const [i, policy] of policies.entries()) {
    const proof = prove(policy, listed[i] ?? '');
    if (proof.proven) continue;
    t.fail(told(proof).join('\n'), {
      policy: JSON.stringify(policy, (_, v: unknown) => (typeof v === 'bigint' ? `${v}` : v)),
    });
  }
  t.equal(listed.length, policies.length);
  t.end();
});

t.test(
  'a policy that lacks one flow of another is never proven by its rules, and its packet tells',
  { skip },
  (t) => {
    const pairs = fc
      .sample(anyPolicy, { numRuns: RUNS, seed: SEED })
      .flatMap((policy) => policy.flows.slice(0, 1).map((flow) => ({ policy, flow })));
    const listed = listings(
      t,
      pairs.map(({ policy }) => ({ json: render(compile(policy)), change: '' })),
    );

    for (const [i, { policy, flow }] of pairs.entries()) {
      const less = { ...policy, flows: policy.flows.filter((one) => one !== flow) };
      const proof = prove(less, listed[i] ?? '');
      if (proof.proven) {
        // What other flows allow too makes no difference to any packet.
        const again = prove(policy, listings(t, [{ json: render(compile(less)), change: '' }])[0] ?? '');
        t.equal(again.proven, true, `${flow.name} is allowed by others as well`);
        continue;
      }
      const found = 'differences' in proof ? proof.differences : [];
      t.ok(found.length > 0);
      // Without its guard, what belongs to a connection that is known would pass too.
      if (flow.guard !== undefined) continue;
      for (const { declared, outcome } of found) {
        t.equal(declared, false);
        t.equal(outcome, 'accept');
      }
    }
    t.end();
  },
);

/** Another one each time by `PROOF_SEED`; the default always the same, so that a failure can be seen again. */
