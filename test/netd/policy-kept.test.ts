import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { epochMs, seconds } from '../../src/core/units.ts';
import { digest, type Pending, State, NO_RULES } from '../../src/netd/state.ts';
import { policyText } from '../../src/segmentation/policy-text.ts';

// What rules were made of stays beside them, whatever happens in between.

const rulesOf = (name: string): string => `{"nftables":[\n{"metainfo":"${name}"}]}`;
const textOf = (name: string): string =>
  policyText(
    { mode: 'observe', zones: [{ name, interface: 'eth0', v4: [], v6: [] }], flows: [] },
    digest(rulesOf(name)),
  );
const pending = (name: string): Pending => ({
  id: '0000000a',
  until: seconds(1),
  within: seconds(1),
  boot: 'b',
  rules: digest(rulesOf(name)),
  tried: true,
  since: epochMs(0),
});

function begun(state: State, name: string): void {
  state.begin(pending(name), rulesOf(name), {
    policy: textOf(name),
    closed: NO_RULES,
    before: undefined,
  });
}

t.test('the policy of a change is the confirmed one from its confirmation on', async (t) => {
  const folder = t.testdir({ segmentation: {} });
  const state = new State(folder);
  t.equal(state.confirmedPolicy(), undefined);

  begun(state, 'first');
  t.equal(state.confirmedPolicy(), undefined, 'it waits');
  state.confirm(rulesOf('first'));
  t.equal(state.confirmedPolicy(), textOf('first'), 'killed right after the confirmation');
  state.end();
  t.equal(state.confirmedPolicy(), textOf('first'));
  t.notOk(existsSync(join(folder, 'segmentation', 'candidate-policy.json')));

  begun(state, 'second');
  t.equal(state.confirmedPolicy(), textOf('first'), 'the second one waits');
  state.end();
  t.equal(state.confirmedPolicy(), textOf('first'), 'and was rolled back');

  begun(state, 'third');
  state.confirm(rulesOf('third'));
  new State(folder).end();
  t.equal(state.confirmedPolicy(), textOf('third'), 'found by whoever came later');
});

t.test('one of other rules is not taken for theirs', async (t) => {
  const folder = t.testdir({ segmentation: {} });
  const state = new State(folder);
  begun(state, 'first');
  state.confirm(rulesOf('first'));
  state.end();

  state.confirm(rulesOf('another'));
  t.equal(state.confirmedPolicy(), undefined);

  const file = join(folder, 'segmentation', 'confirmed-policy.json');
  const text = readFileSync(file, 'utf8');
  writeFileSync(file, '');
  state.confirm(rulesOf('first'));
  t.equal(state.confirmedPolicy(), undefined, 'nor a damaged one');
  writeFileSync(file, text);
  t.equal(state.confirmedPolicy(), textOf('first'));
});
