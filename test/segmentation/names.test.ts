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
