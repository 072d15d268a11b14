import * as fc from 'fast-check';
import t from 'tap';
import { flowChain, mapOf, pairChain } from '../../src/segmentation/names.ts';
import { inNamespace, noRules } from '../support/namespace.ts';
import { rulesOf } from './policies.ts';

/** Names of zones that look alike. */
const zone = fc.stringMatching(/^[ab][ab-]{0,5}$/);

t.test('no two pairs of zones share a name', async () => {
  const pair = fc.record({ from: zone, to: zone });
  fc.assert(
    fc.property(pair, pair, (one, other) => {
      const same = one.from === other.from && one.to === other.to;
      return (pairChain(one) === pairChain(other)) === same;
    }),
    { numRuns: 20_000 },
  );
});

const FIXED = (from: string, to: string): string => `
gateway: { id: plant }
zones:
  ${from}: { vlan: 10, subnet: 10.20.10.0/24, ports: [lan1] }
  ${to}: { vlan: 40, subnet: [10.20.40.0/24, "fd00:40::/64"], ports: [lan2] }
conduits:
  - { from: ${to}, to: ${from}, allow: [modbus-tcp/read], because: "x", guard: { grade: filtered } }
classes: { press: { zone: ${from}, protocol: modbus, points: { p: { at: "coil:0" } } } }
devices: { p1: { class: press, at: "modbus-tcp://10.20.10.11" } }
segmentation: { mode: observe }
`;

const named = (rules: string): string[] =>
  [...rules.matchAll(/"(?:chain|counter)":\{"family":"inet","table":"sluice","name":"(\w+)"/g)].map(
    ([, name = '']) => name,
  );

t.test('no pair of zones has the name of what is always there', async (t) => {
  const others = new Set(named(rulesOf(FIXED('aaa', 'bbb'))));
  const fixed = named(rulesOf(FIXED('ccc', 'ddd'))).filter((name) => others.has(name));
  const two = fixed.filter((name) => /^(?:d|n_denied|n_would_deny)_[a-z0-9]+_[a-z0-9_]+$/.test(name));

  t.ok(fixed.includes('d_noread'));
  t.same(two, [], 'a name of two words is a pair of zones');
  t.match(rulesOf(FIXED('read', 'no')), /d_no_read/, 'so that any two names of zones can be rendered');
});

t.test('every name is one that nft can read again', async () => {
  const name = /^[a-z][a-z0-9]?_[a-z0-9_]+$/;
  fc.assert(
    fc.property(fc.stringMatching(/^[a-z][a-z0-9-]{0,30}$/), zone, (from, to) => {
      const names = [
        pairChain({ from, to }),
        mapOf('r', { from, to }, 6, true),
        flowChain({ name: `poll-${from}` }),
      ];
      return names.every((one) => name.test(one));
    }),
  );
});

t.test('zones with the longest names load', { skip: noRules() }, async (t) => {
  const [one, other] = [`a${'-'.repeat(30)}`, `b${'-'.repeat(29)}c`];
  const json = rulesOf(`
gateway: { id: plant }
zones: { ${one}: { vlan: 1, subnet: 10.0.0.0/24 }, ${other}: { vlan: 2, subnet: 10.0.1.0/24 } }
conduits: [{ from: ${one}, to: ${other}, allow: [ssh, icmp], because: long }]
segmentation: { mode: observe }
`);
  const folder = t.testdir({ 'rules.json': json });
  const ran = inNamespace(
    'nft -j -f "$1/rules.json"; nft list ruleset >"$1/listing"; nft -c -f "$1/listing"',
    folder,
  );

  t.equal(ran.stderr, '');
  t.equal(ran.status, 0);
});
