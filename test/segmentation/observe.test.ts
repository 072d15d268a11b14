import * as fc from 'fast-check';
import t from 'tap';
import { seedOf } from '../support/long.ts';
import { epochMs } from '../../src/core/units.ts';
import { canonical, fingerprint } from '../../src/segmentation/canonical.ts';
import { compile } from '../../src/segmentation/compile.ts';
import { Judge, type Connection } from '../../src/segmentation/connections.ts';
import { islanded } from '../../src/segmentation/island.ts';
import type { Policy } from '../../src/segmentation/policy.ts';
import { policyAt } from '../../src/segmentation/policy-at.ts';
import { type Proof, prove } from '../../src/segmentation/prove.ts';
import { quarantinedIn, quarantineElements, withQuarantine } from '../../src/segmentation/quarantine.ts';
import { render } from '../../src/segmentation/render.ts';
import { noRules } from '../support/namespace.ts';
import { anyPolicy } from './any-policy.ts';
import { listings, told } from './listed.ts';
import { policyOf } from './policies.ts';

// Observing with an end, an island and quarantine, as a kernel lists them.

const skip = noRules();
process.env['TZ'] = 'UTC'; // as nft is called
const RUNS = Number(process.env['PROOF_RUNS'] ?? '10');

const UNTIL = Date.UTC(2027, 5, 1);
const BEFORE = epochMs(UNTIL - 1);
const AFTER = epochMs(UNTIL);
const LOST = epochMs(0);

const plant = (segmentation: string, more = ''): string => `
gateway: { id: plant7, data: ./data }
zones:
  control:     { vlan: 10, subnet: [10.20.10.0/24, "fd00:10::/64"] }
  supervision: { vlan: 40, subnet: [10.20.40.0/24, "fd00:40::/64"] }
  uplink:      { interface: eth9 }
segmentation: { ${segmentation}, management: { zone: uplink, from: [10.1.2.0/24], allow: [ssh] } }
conduits:
  - { from: supervision, to: control, allow: [tcp/4001], because: "test"${more} }
  - { from: gateway, to: uplink, allow: [mqtts], because: "telemetry" }
`;
const PAIR = policyOf(plant('mode: enforce', ', observe-until: 2027-06-01'));
const WHOLE = policyOf(plant('mode: observe, observe-until: 2027-06-01T00:00Z'));

const isProven = (proof: Proof): string | true => (proof.proven ? true : told(proof).slice(0, 3).join('; '));

t.test('the kernel holds what is observed, and the proof knows the time', { skip }, (t) => {
  for (const policy of [PAIR, WHOLE]) {
    const json = render(compile(policy));
    const [listing = ''] = listings(t, [{ json, change: '' }]);

    t.equal(fingerprint(canonical(listing)), fingerprint(canonical(json)), 'it survives a listing');
    for (const now of [BEFORE, AFTER, LOST]) t.equal(isProven(prove(policy, listing, now)), true);
    t.match(isProven(prove(policy, listing)), /says .*time/, 'without a clock nothing is proven');
    // What is denied from then on passes before, and who sets the clock back has it pass again.
    const denying = policyAt(policy, AFTER);
    t.equal(denying.mode, 'enforce');
    for (const now of [BEFORE, AFTER]) t.match(isProven(prove(denying, listing, now)), /says .*time/);
  }
  t.end();
});

t.test('who moves the end by hand is noticed', { skip }, (t) => {
  const json = render(compile(PAIR)).replaceAll(String(UNTIL / 1_000), String(UNTIL / 1_000 + 86_400));
  const [listing = ''] = listings(t, [{ json, change: '' }]);
  for (const now of [BEFORE, AFTER]) t.match(isProven(prove(PAIR, listing, now)), /says .*time/, 'at once');
  t.not(fingerprint(canonical(listing)), fingerprint(canonical(render(compile(PAIR)))));
  t.end();
});

t.test('what would pass at another time is found now', { skip }, (t) => {
  const changes = [
    'insert rule inet sluice g_forward meta time >= "2026-12-24 00:00" accept',
    'insert rule inet sluice g_forward meta time >= "2027-06-01 00:00" accept',
    'insert rule inet sluice g_forward meta time < "2026-01-01 00:00" accept',
  ];
  const documents = changes.map((change) => ({ json: render(compile(PAIR)), change }));
  const [odd, late, lost] = listings(t, documents).map((listing) => isProven(prove(PAIR, listing, BEFORE)));

  t.match(odd, /says .*2026-12-24/, 'a moment that the file does not name');
  t.match(
    late,
    /not declared, accept, by g_forward, rule 1 .*, when the clock shows 2027-06-01T00:00:00.000Z/,
  );
  t.match(
    lost,
    /not declared, accept, by g_forward, rule 1 .*, when the clock shows 2025-12-31T23:59:59.999Z/,
  );
  t.end();
});

t.test('any policy with any pair observed, and as an island', { skip }, (t) => {
  const policies = fc
    .sample(anyPolicy, { numRuns: RUNS, seed: seedOf('PROOF_SEED', 7) })
    .flatMap((policy): Policy[] => {
      // What is filtered cannot be observed for a while: a file with that is refused.
      const flows = policy.flows.filter(({ guard }) => guard?.grade !== 'filtered');
      const enforced: Policy = { ...policy, mode: 'enforce', flows };
      const names = ['gateway', ...policy.zones.map(({ name }) => name)];
      const observed = names.flatMap((from, i) => {
        const to = names[(i + 1) % names.length] ?? from;
        return from === to ? [] : [{ from, to, until: epochMs(UNTIL) }];
      });
      return [{ ...enforced, observed }, islanded(enforced)];
    });
  const documents = policies.map((policy) => ({ json: render(compile(policy)), change: '' }));
  for (const [i, listing] of listings(t, documents).entries()) {
    const policy = policies[i];
    if (policy === undefined) throw new Error('more listings than policies');
    for (const now of [BEFORE, AFTER]) t.equal(isProven(prove(policy, listing, now)), true, `policy ${i}`);
  }
  t.end();
});

t.test('quarantine travels in the rules, and is exactly that of the book', { skip }, (t) => {
  const json = render(compile(PAIR));
  const elements = quarantineElements([
    { mac: '02:00:00:00:20:11', addresses: ['10.20.10.9', 'fd00:10::9'] },
    { mac: undefined, addresses: ['10.20.10.9'] },
  ]);
  const held = withQuarantine(json, elements);
  const [listing = '', odd = ''] = listings(t, [
    { json: held, change: '' },
    { json: held, change: 'delete element inet sluice q_ip_6 { fd00:10::9 }' },
  ]);
  t.strictSame(quarantinedIn(listing), elements);
  t.equal(fingerprint(canonical(listing)), fingerprint(canonical(held)));
  t.not(fingerprint(canonical(odd)), fingerprint(canonical(held)));
  t.not(fingerprint(canonical(listing)), fingerprint(canonical(json)));
  t.equal(isProven(prove(PAIR, listing, AFTER)), true, 'a proof holds whoever is in quarantine');
  t.equal(withQuarantine(json, quarantineElements([])), json);
  t.end();
});

const connection = (source: string, destination: string, port: number, more = {}): Connection => ({
  family: source.includes(':') ? 6 : 4,
  protocol: 6,
  source,
  destination,
  sourcePort: 40_000,
  destinationPort: port,
  icmp: undefined,
  answers: { address: destination, port },
  answered: true,
  trackingZone: 0,
  id: 1,
  ...more,
});

t.test('connections as the policy judges them', (t) => {
  const own = ['10.20.10.1', 'fd00:10::1', '127.0.0.1', '10.1.2.77'];
  const judge = new Judge(policyAt(policyOf(plant('mode: enforce')), BEFORE), own);
  const cases = [
    ['allowed', connection('10.20.40.9', '10.20.10.9', 4_001)],
    ['allowed', connection('fd00:40::9', 'fd00:10:0::9', 4_001)],
    ['forbidden', connection('10.20.40.9', '10.20.10.9', 4_002)],
    ['forbidden', connection('10.20.10.9', '10.20.40.9', 4_001)],
    ['forbidden', connection('10.20.40.9', '10.20.10.9', 4_001, { protocol: 17 })],
    [
      'forbidden',
      connection('10.20.40.9', '10.20.10.9', 0, { protocol: 1, icmp: { type: 8, code: 0, id: 1 } }),
    ],
    ['allowed', connection('10.1.2.5', '10.1.2.77', 22)],
    ['forbidden', connection('10.1.3.5', '10.1.2.77', 22)],
    ['allowed', connection('10.1.2.77', '198.51.100.7', 8_883)],
    ['forbidden', connection('10.1.2.77', '10.20.10.9', 502)],
    // Within a zone that may not, which passed the gateway; and within the rest of the world, such as containers.
    ['forbidden', connection('10.20.10.9', '10.20.10.10', 4_001)],
    ['not ours', connection('172.17.0.2', '198.51.100.7', 443)],
    ['not ours', connection('127.0.0.1', '127.0.0.1', 4_002)],
    ['not ours', connection('10.20.10.1', '224.0.0.251', 5_353, { protocol: 17 })],
    ['forbidden', connection('10.20.10.9', '224.0.0.251', 5_353, { protocol: 17 })],
    // Another table put another destination in: that one counts.
    [
      'allowed',
      connection('10.20.40.9', '10.20.10.1', 80, { answers: { address: '10.20.10.9', port: 4_001 } }),
    ],
    [
      'forbidden',
      connection('10.20.40.9', '10.20.10.9', 4_001, { answers: { address: '10.20.10.9', port: 1 } }),
    ],
  ] as const;
  for (const [expected, one] of cases)
    t.equal(judge.judge(one), expected, `${one.source} -> ${one.destination} ${one.destinationPort}`);
  const observing = new Judge(policyAt(PAIR, BEFORE), own);
  t.equal(observing.judge(connection('10.20.40.9', '10.20.10.9', 4_002)), 'not ours');
  t.equal(observing.judge(connection('10.20.10.9', '10.20.40.9', 4_002)), 'forbidden');
  t.equal(
    new Judge(policyAt(PAIR, AFTER), own).judge(connection('10.20.40.9', '10.20.10.9', 4_002)),
    'forbidden',
  );
  t.equal(
    new Judge(policyAt(WHOLE, BEFORE), own).judge(connection('10.20.10.9', '10.20.40.9', 1)),
    'not ours',
  );
  t.end();
});

t.test('of two zones that have the rest of the world, either may allow a connection', (t) => {
  const policy = policyOf(`
gateway: { id: plant7, data: ./data }
zones:
  control:  { vlan: 10, subnet: 10.20.10.0/24 }
  uplink:   { interface: eth9 }
  cellular: { interface: wwan0 }
segmentation: { mode: enforce, management: { zone: uplink, from: [10.1.2.0/24], allow: [ssh] } }
conduits:
  - { from: gateway, to: cellular, allow: [mqtts], because: "the way out when the line is down" }
  - { from: control, to: cellular, allow: [https], because: "vendor" }
  - { from: cellular, to: control, allow: [tcp/4840], because: "vendor reads" }
  - { from: gateway, to: uplink, allow: [ntp], because: "time" }
`);
  const judge = new Judge(policy, ['10.20.10.1', '203.0.113.9']);
  const outside = '198.51.100.7';

  const cases = [
    ['allowed', connection('203.0.113.9', outside, 8_883)],
    ['allowed', connection('10.20.10.5', outside, 443)],
    ['allowed', connection(outside, '10.20.10.5', 4_840)],
    ['forbidden', connection('10.20.10.5', outside, 8_883)],
    ['forbidden', connection('203.0.113.9', outside, 443)],
    ['forbidden', connection(outside, '10.20.10.5', 443)],
    ['not ours', connection(outside, '192.0.2.1', 443)],
  ] as const;
  for (const [expected, one] of cases)
    t.equal(judge.judge(one), expected, `${one.source} -> ${one.destination} ${one.destinationPort}`);
  t.match(judge.flowsOf(connection('203.0.113.9', outside, 8_883)), [/cellular/]);
  t.match(judge.flowsOf(connection('10.20.10.5', outside, 443)), [/cellular/]);
  t.end();
});
