import { readFileSync } from 'node:fs';
import * as fc from 'fast-check';
import t from 'tap';
import { policyOfText } from '../../src/segmentation/policy-file.ts';
import { belongsTo, policyText } from '../../src/segmentation/policy-text.ts';
import { anyPolicy } from './any-policy.ts';
import { policyOf } from './policies.ts';

const RULES = 'a'.repeat(64);

t.test('a policy that was written is read again as it was', async (t) => {
  fc.assert(
    fc.property(anyPolicy, (policy) => {
      const text = policyText(policy, RULES);
      t.same(policyOfText(text, RULES), { devices: [], ...policy });
      return belongsTo(text, RULES);
    }),
    { numRuns: 50 },
  );
  const policy = policyOf(readFileSync('test/golden/segmentation/08-both-families/gateway.yaml', 'utf8'));
  t.same(policyOfText(policyText(policy, RULES), RULES), policy);
});

t.test('one that belongs to other rules, or is damaged, is none', async (t) => {
  const text = policyText({ mode: 'off', zones: [], flows: [] }, RULES);
  t.equal(policyOfText(text, 'b'.repeat(64)), undefined);
  t.notOk(belongsTo(text, 'b'.repeat(64)));
  t.equal(policyOfText(text.slice(0, -3), RULES), undefined);
  t.equal(policyOfText(text.replace('"off"', '"open"'), RULES), undefined);
  t.equal(policyOfText('', RULES), undefined);
});
