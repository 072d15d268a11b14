import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { digest, State } from '../../src/netd/state.ts';
import { encloses, NOTHING_PASSES } from '../../src/segmentation/closed.ts';
import { quarantineElements, withQuarantine } from '../../src/segmentation/quarantine.ts';
import { policyText } from '../../src/segmentation/policy-text.ts';
import { closedRulesOf, policyOf, rulesOf } from '../segmentation/policies.ts';
import { AFTER, BEFORE } from './plants.ts';

// What is gone back to, whatever is damaged: never nothing.

const RULES = rulesOf(BEFORE);
const CLOSED = closedRulesOf(BEFORE);
const SUSPECT = { mac: undefined, addresses: ['10.20.10.9'] };

function kept(t: Test): { readonly state: State; readonly path: (name: string) => string } {
  const data = t.testdir({ segmentation: {} });
  const state = new State(data);
  state.confirm(RULES, withQuarantine(RULES, quarantineElements([SUSPECT])));
  state.keepClosed(CLOSED);
  return { state, path: (name) => join(data, 'segmentation', name) };
}

t.test('a confirmed.json that is cut short, changed, emptied or gone', async (t) => {
  const damages: Readonly<Record<string, (path: string) => void>> = {
    'cut short': (path) => writeFileSync(path, readFileSync(path).subarray(0, 2_000)),
    'another port': (path) => writeFileSync(path, readFileSync(path, 'utf8').replace(/\b502\b/g, '503')),
    empty: (path) => writeFileSync(path, ''),
    'without a seal, and another port': (path) => writeFileSync(path, RULES.replace(/\b502\b/g, '503')),
    'without a seal, and cut short': (path) => writeFileSync(path, RULES.slice(0, -3)),
    gone: (path) => rmSync(path),
  };
  for (const [name, damage] of Object.entries(damages)) {
    const { state, path } = kept(t);
    damage(path('confirmed.json'));

    t.match(
      state.kept(),
      { rules: RULES, from: 'boot.json', lost: /^confirmed\.json is (damaged|gone); / },
      name,
    );
    t.equal(state.before(), RULES);

    writeFileSync(
      path('boot.json'),
      readFileSync(path('boot.json'), 'utf8').replace('10.20.10.9', '10.20.10.8'),
    );
    t.match(state.kept(), { rules: CLOSED, from: 'closed.json', lost: /nothing but management/ }, name);
    writeFileSync(path('closed.json'), '{');
    t.match(state.kept(), { rules: NOTHING_PASSES, from: 'closed.json' }, name);
    t.ok(encloses(NOTHING_PASSES));
  }
});

t.test('what an earlier version confirmed was never sealed: it is, once another file knows it', async (t) => {
  const { state, path } = kept(t);
  const was = readFileSync(path('confirmed.json'), 'utf8');
  const keep = (): void => {
    const now = state.kept();
    if (now !== undefined) state.keepBoot(now, now.rules);
  };
  const known: Readonly<Record<string, () => void>> = {
    'boot.json holds the same': () => {},
    'boot.json was made of it': () => state.confirm(RULES, CLOSED),
    'what it was made of is known': () => {
      writeFileSync(path('boot.json'), '{');
      state.keepPolicy(policyText(policyOf(BEFORE), digest(RULES)));
    },
    'that version left nothing else': () => {
      for (const name of ['boot.json', 'closed.json', 'confirmed-policy.json']) rmSync(path(name));
    },
  };
  for (const [name, act] of Object.entries(known)) {
    act();
    writeFileSync(path('confirmed.json'), RULES);
    t.match(state.kept(), { rules: RULES, from: 'confirmed.json', lost: undefined }, name);

    keep();
    t.equal(readFileSync(path('confirmed.json'), 'utf8'), was);
    t.strictSame(state.damaged(), []);
  }
});

t.test('it is written again before something else takes the place of the other one', async (t) => {
  const { state, path } = kept(t);
  writeFileSync(path('confirmed.json'), '{');
  const lost = state.kept();
  t.ok(lost);

  if (lost !== undefined) state.keepBoot(lost, CLOSED);

  t.match(state.kept(), { rules: RULES, from: 'confirmed.json', lost: undefined });
  t.equal(state.islandOf(RULES), CLOSED, 'and it is known what the other one was made of');
  t.match(state.damaged(), [/confirmed\.json was damaged, and is written again/]);
  state.confirm(rulesOf(AFTER));
  t.strictSame(state.damaged(), []);
  t.notOk(existsSync(path('confirmed.json.damaged')));
});

t.test(
  'where nothing that was confirmed can be read, a start of the machine is not given what is closed',
  async (t) => {
    const { state, path } = kept(t);
    writeFileSync(path('confirmed.json'), '{');
    writeFileSync(path('boot.json'), '{');
    const lost = state.kept();

    if (lost !== undefined) state.keepBoot(lost, lost.rules);

    t.equal(readFileSync(path('boot.json'), 'utf8'), '{', 'it closes by itself, and says why');
  },
);

t.test('nothing was ever confirmed', async (t) => {
  const state = new State(t.testdir({ segmentation: {} }));

  t.equal(state.kept(), undefined);
});

t.test('what an unconfirmed change returns to where nobody knew the rules before', async (t) => {
  const data = t.testdir({ segmentation: {} });
  const state = new State(data);
  const pending = { id: '0000000a', until: 1, within: 1, boot: 'b', rules: digest(RULES), since: 0 };
  // @ts-expect-error numbers stand for times
  state.begin(pending, RULES, { policy: '', closed: CLOSED, before: CLOSED });
  t.equal(state.before(), CLOSED);

  writeFileSync(join(data, 'segmentation', 'before.json'), '{');
  t.equal(state.before(), CLOSED);
  writeFileSync(join(data, 'segmentation', 'candidate-closed.json'), '{');
  t.equal(state.before(), NOTHING_PASSES);
});
