import t from 'tap';
import { checkCommands, checkReferences } from '../../src/segmentation/check.ts';
import { compile } from '../../src/segmentation/compile.ts';
import { render } from '../../src/segmentation/render.ts';
import type { Chain, Ruleset } from '../../src/segmentation/ruleset.ts';
import { accept, count, drop, goTo, is, lookUp, rule } from '../../src/segmentation/statements.ts';
import { policyOf, rulesOf } from './policies.ts';

const here = { family: 'inet', table: 'sluice' };
const chain = { ...here, name: 'g_forward' };

t.test('a key that nft would ignore in silence is refused', async (t) => {
  const refused: readonly (readonly [unknown, RegExp])[] = [
    [{ add: { chain: { ...chain, priority: -5 } } }, /unknown key priority/],
    [{ add: { chain: { ...chain, comment: 'why' } } }, /unknown key comment/],
    [{ add: { table: { family: 'inet', name: 'sluice', flags: ['dormant'] } } }, /unknown key flags/],
    [{ add: { table: { family: 'inet', name: 'filter' } } }, /"filter", not "sluice"/],
    [{ flush: { ruleset: null } }, /unknown key flush/],
    [{ add: { chain: { ...here, name: 'drop' } } }, /"drop", not a text/],
    [{ add: { chain: { ...here, name: `c_${'a'.repeat(254)}` } } }, /at most 255 bytes/],
    [{ add: { set: { ...here, name: 's_a', type: 'ifname', elem: [] } } }, /no list of at least 1/],
    [{ add: { set: { ...here, name: 's_a', type: 'ifname', elem: ['a234567890123456'] } } }, /15 bytes/],
    [{ add: { set: { ...here, name: 's_a', type: 'ipv4_addr', flags: ['dynamic'] } } }, /"dynamic"/],
    [
      { add: { set: { ...here, name: 's_a', type: 'ipv4_addr', 'auto-merge': true } } },
      /unknown key auto-merge/,
    ],
    [{ add: { rule: { ...here, chain: 'c_a', expr: [] } } }, /no list of at least 1/],
    [{ add: { rule: { ...here, chain: 'c_a', expr: [{ jump: { target: 'c_b' } }] } } }, /unknown key jump/],
    [{ add: { rule: { ...here, chain: 'c_a', expr: [{ accept: null, drop: null }] } } }, /one key/],
    [{ add: { rule: { ...here, chain: 'c_a', expr: [{ accept: null }], comment: '"' } } }, /comment is/],
    [{ add: { rule: { ...here, chain: 'c_a', expr: [{ counter: null }] } } }, /counter is null/],
    [
      { add: { rule: { ...here, chain: 'c_a', expr: [{ log: { group: 1, prefix: 'a', snaplen: 9 } }] } } },
      /snaplen/,
    ],
    [
      {
        add: {
          rule: {
            ...here,
            chain: 'c_a',
            expr: [{ match: { left: { meta: { key: 'iif' } }, op: '==', right: 1 } }],
          },
        },
      },
      /"iif", not "iifname"/,
    ],
    [
      {
        add: {
          rule: {
            ...here,
            chain: 'c_a',
            expr: [{ match: { op: '<', left: { meta: { key: 'time' } }, right: 2 ** 40 } }],
          },
        },
      },
      /match\.right is 1099511627776, not a whole number/,
    ],
  ];
  for (const [command, message] of refused) t.throws(() => checkCommands([command]), { message });
  t.doesNotThrow(() => checkCommands([{ add: { chain } }]));
});

const ruleset = (chains: readonly Chain[], more: Partial<Ruleset> = {}): Ruleset => ({
  loaded: true,
  counters: ['n_a'],
  sets: [],
  maps: [{ name: 'm_a', types: ['ifname'], interval: false, elements: [] }],
  portMaps: [],
  chains,
  ...more,
});

const one = (...rules: Chain['rules']): Ruleset => ruleset([{ name: 'c_a', rules }]);

t.test('rules that lead nowhere are refused', async (t) => {
  t.doesNotThrow(() => checkReferences(one(rule(lookUp(['iifname'], 'm_a')), rule(count('n_a'), drop))));
  t.throws(() => checkReferences(one(rule(goTo('c_b')))), { message: /chain that is not there/ });
  t.throws(() => checkReferences(one(rule(count('n_b'), drop))), { message: /counts with n_b/ });
  t.throws(() => checkReferences(one(rule(lookUp(['iifname', 'oifname'], 'm_a')), rule(drop))), {
    message: /looks into m_a/,
  });
  t.throws(() => checkReferences(one(rule(count('n_a')))), { message: /open end/ });
  t.throws(() => checkReferences(one(rule(is('iifname', 'lo'), accept))), { message: /open end/ });
  t.throws(() => checkReferences(one()), { message: /open end/ });
  t.throws(
    () => checkReferences(ruleset([{ name: 'c_a', rules: [rule(drop)] }], { counters: ['n_a', 'n_a'] })),
    {
      message: /one name/,
    },
  );
  t.throws(
    () =>
      checkReferences(
        ruleset([{ name: 'c_a', rules: [rule(drop)] }], {
          maps: [
            {
              name: 'm_a',
              types: ['inet_service'],
              interval: false,
              elements: [{ key: [{ low: 1n, high: 2n }], verdict: 'drop' }],
            },
          ],
        }),
      ),
    { message: /has a range/ },
  );
});

const PLANT = `
gateway: { id: plant }
zones: { control: { vlan: 10, subnet: 10.0.0.0/24 }, uplink: { interface: eth0 } }
conduits: [{ from: control, to: uplink, allow: [https], because: REASON }]
segmentation: { mode: observe }
`;

t.test('a reason of any length and any letters becomes a comment', async (t) => {
  for (const reason of ['"🏭 ü" a', 'x'.repeat(990), '🏭'.repeat(490), '\\u0007 bell', 'ends with \\\\']) {
    const json = rulesOf(PLANT.replace('REASON', JSON.stringify(reason).replaceAll('\\\\', '\\')));
    const [, comment = ''] = /"comment":"(conduits\[0\][^"]*)"/.exec(json) ?? [];
    t.ok(comment.length > 13, comment);
    t.ok(Buffer.byteLength(comment) <= 120);
    t.notMatch(comment, /\uFFFD/);
  }
});

t.test('a chain of a hook never decides without a rule', async (t) => {
  for (const mode of ['observe', 'enforce']) {
    const management = '{ zone: uplink, from: [192.0.2.0/24], allow: [ssh] }';
    const policy = policyOf(
      PLANT.replace('{ mode: observe }', `{ mode: ${mode}, management: ${management} }`),
    );
    const ruleset = compile(policy);
    render(ruleset);
    const policies = ruleset.chains.flatMap(({ name, base }) =>
      base === undefined ? [] : [[name, base.policy]],
    );
    const past = mode === 'enforce' ? 'drop' : 'accept';
    t.same(policies, [
      ['g_raw', 'accept'],
      ['g_forward', past],
      ['g_input', past],
      ['g_output', past],
    ]);
  }
});
