import * as fc from 'fast-check';
import t from 'tap';
import { seedOf } from '../support/long.ts';
import { holds } from '../../src/netd/bring.ts';
import { objectsOf, type TableObject } from '../../src/segmentation/canonical.ts';
import { differing } from '../../src/segmentation/consequences.ts';
import { rulesOf } from '../segmentation/policies.ts';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { confirmed } from './change.ts';
import { BEFORE } from './plants.ts';

// Whatever another program changes in the table: the comparison notices it.

const skip = noRules() || missingPeer('nsenter', 'util-linux');
/** Each takes three runs of nft. */
const EDITS = Number(process.env['SLUICE_EDITS'] ?? 10);

/** One change of a table with these objects, as a command for nft; every one of them changes something. */
function anyEdit(objects: readonly TableObject[]): fc.Arbitrary<string> {
  const names = (kind: string, wanted: (one: TableObject) => boolean = () => true): string[] =>
    objects.filter((one) => one.kind === kind && wanted(one)).map(({ inside }) => String(inside['name']));
  const rules = objects
    .filter(({ kind }) => kind === 'rule')
    .map(({ inside }) => `${String(inside['chain'])} handle ${String(inside['handle'])}`);
  const base = names('chain', ({ inside }) => 'hook' in inside);
  const chain = fc.constantFrom(...names('chain'));
  const rule = fc.constantFrom(...rules);
  const policies = objects.filter(({ kind, inside }) => kind === 'chain' && 'hook' in inside);
  return fc.oneof(
    rule.map((one) => `delete rule inet sluice ${one}`),
    chain.map((one) => `insert rule inet sluice ${one} accept`),
    chain.map((one) => `add rule inet sluice ${one} counter`),
    fc.constantFrom(...base).map((one) => `insert rule inet sluice ${one} ip saddr 10.9.9.9 accept`),
    fc
      .constantFrom(...policies)
      .map(
        ({ inside }) =>
          `chain inet sluice ${String(inside['name'])} { policy ${inside['policy'] === 'drop' ? 'accept' : 'drop'}; }`,
      ),
    fc.constantFrom(...names('map')).map((one) => `flush map inet sluice ${one}`),
    fc.nat(255).map((n) => `add element inet sluice m_source_4 { "vlan10" . 10.99.0.${n} : accept }`),
    fc
      .nat(65_535)
      .map(
        (n) =>
          `add element inet sluice r_supervision_control_4 { 10.20.40.9 . 10.20.10.9 . tcp . ${n} : accept }`,
      ),
    fc.nat(99).map((n) => `add element inet sluice m_pairs { "eth9" . "eth${n}" : accept }`),
    fc
      .constantFrom(...names('set', ({ inside }) => inside['flags'] === undefined))
      .map((one) => `flush set inet sluice ${one}`),
    fc.nat(9).map((n) => `add chain inet sluice x_${n}`),
    fc
      .nat(9)
      .map((n) => `add chain inet sluice x_${n} { type filter hook forward priority ${n}; policy accept; }`),
    fc.nat(9).map((n) => `add counter inet sluice x_${n}`),
    fc.nat(9).map((n) => `add set inet sluice x_${n} { type ipv4_addr; }`),
    fc.constantFrom(
      'flush table inet sluice',
      'delete table inet sluice',
      'add table inet sluice { flags dormant; }',
    ),
  );
}

t.test('random changes of others are always noticed, and named', { skip }, async (t) => {
  const bed = await confirmed(t);
  const rules = rulesOf(BEFORE);
  const objects = objectsOf((await bed.listing()) ?? '') ?? [];
  let noticed = 0;

  for (const edit of fc.sample(anyEdit(objects), { numRuns: EDITS, seed: seedOf('DRIFT_SEED', 8) })) {
    await bed.confirmed(BEFORE);
    // Handles begin anew with the table, in the same order.
    const { status, stderr } = await bed.run('/usr/sbin/nft', edit);
    if (status !== 0) throw new Error(`${edit}: ${stderr}`);
    const listing = await bed.listing();
    if (holds(listing, rules) || differing(listing, rules).length === 0) t.fail(`not noticed: ${edit}`);
    else noticed += 1;
  }

  t.equal(noticed, EDITS);
  await bed.confirmed(BEFORE);
  t.ok(await bed.holds(BEFORE), 'and what is as it should be is no difference');
  t.same(differing(await bed.listing(), rules), []);
});
