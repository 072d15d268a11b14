import { existsSync, globSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import * as fc from 'fast-check';
import t from 'tap';
import { forMachine, forPerson, planOf } from '../../src/netd/tell-plan.ts';
import { digest } from '../../src/netd/state.ts';
import { changesOfAccess } from '../../src/segmentation/access.ts';
import { compile } from '../../src/segmentation/compile.ts';
import { Naming } from '../../src/segmentation/naming.ts';
import type { Policy } from '../../src/segmentation/policy.ts';
import { policyText } from '../../src/segmentation/policy-text.ts';
import { render } from '../../src/segmentation/render.ts';
import { anyPolicy } from './any-policy.ts';
import { policyOf } from './policies.ts';

// One folder for each kind of change: what is confirmed, what the file says now, and what people and programs are told.
const files = globSync('test/golden/plan/*/after.yaml').toSorted();
const update = process.env['UPDATE_GOLDEN'] === '1';
const policyIn = (file: string): Policy => policyOf(readFileSync(file, 'utf8'));

function knownOf(policy: Policy, options: { readonly withPolicy: boolean } = { withPolicy: true }) {
  const rules = render(compile(policy));
  const text = options.withPolicy ? policyText(policy, digest(rules)) : undefined;
  const confirmed = { rules, digest: digest(rules), policy: text };
  return { confirmed, waiting: undefined, kernel: 'not permitted' } as const;
}

t.test('the golden folders are there', async (t) => t.ok(files.length >= 10));

for (const file of files) {
  const folder = dirname(file);
  t.test(basename(folder).replaceAll('-', ' '), async (t) => {
    const before = join(folder, 'before.yaml');
    const known = existsSync(before)
      ? knownOf(policyIn(before))
      : ({ confirmed: undefined, waiting: undefined, kernel: 'not permitted' } as const);
    const plan = planOf(known, policyIn(file));
    const told = {
      'plan.txt': forPerson(plan),
      'plan.json': `${JSON.stringify(forMachine(plan), undefined, 2)}\n`,
    };
    for (const [name, text] of Object.entries(told)) {
      if (update) writeFileSync(join(folder, name), text);
      t.equal(text, readFileSync(join(folder, name), 'utf8'));
    }
  });
}

t.test('a policy compared with itself changes nothing, whatever the order of its lines', async (t) => {
  fc.assert(
    fc.property(anyPolicy, (policy) => {
      const turned = { ...policy, flows: policy.flows.toReversed() };
      const { gained, lost } = changesOfAccess(policy, turned);
      return gained.length === 0 && lost.length === 0;
    }),
    { numRuns: 40 },
  );
  t.end();
});

t.test('what one policy gains the other way round is lost', async (t) => {
  fc.assert(
    fc.property(anyPolicy, anyPolicy, (a, b) => {
      const [there, back] = [changesOfAccess(a, b), changesOfAccess(b, a)];
      t.same(there.gained, back.lost);
      t.same(there.lost, back.gained);
    }),
    { numRuns: 20 },
  );
});

t.test('without the policy of older rules, what these accept is compared', async (t) => {
  const [before, after] = ['before', 'after'].map((name) =>
    policyIn(`test/golden/plan/02-a-conduit-goes-and-one-comes/${name}.yaml`),
  );
  if (before === undefined || after === undefined) return;
  const plan = planOf(knownOf(before, { withPolicy: false }), after);
  t.same(forPerson(plan).split('\n'), [
    'compared with the rules that are confirmed:',
    '- supervision/* may no longer reach control/* icmp, tcp/502 modbus-tcp',
    '+ gateway may reach uplink/* udp/53 dns, tcp/53 dns, udp/123 ntp (conduits[1]: names and time)',
    '',
  ]);
  t.match(forPerson(planOf(knownOf(before, { withPolicy: false }), before)), /^nothing changes, /);
});

t.test('addresses that are all there are have no number of their own', async (t) => {
  const policy = policyIn('test/golden/plan/02-a-conduit-goes-and-one-comes/after.yaml');
  const naming = new Naming(policy);
  const [v4 = [], v6 = [], half = []] = [32n, 128n, 31n].map((bits) => [
    { low: 0n, high: (1n << bits) - 1n },
  ]);

  t.equal(naming.name('control', { v4, v6: [] }), 'control/any IPv4');
  t.equal(naming.name('control', { v4, v6 }), 'control/any IPv4, any IPv6');
  t.equal(naming.name('control', { v4: half, v6: [] }), 'control/0.0.0.0/1');
});

t.test('a thousand devices and four hundred conduits are compared while a person waits', async (t) => {
  const [before, after] = [largePlant(502), largePlant(4840)];
  t.equal(after.devices?.length, 1_000);
  t.equal(after.flows.filter(({ kind }) => kind === 'conduit').length, 400);
  const start = process.cpuUsage();
  const { gained, lost } = changesOfAccess(before, after);
  const { user, system } = process.cpuUsage(start);
  t.comment(`${Math.round((user + system) / 1_000)} ms of processor time`);
  t.equal(gained.length, 1);
  t.match(gained[0], { from: 'z3/c-z3 (50 devices)', to: 'z5/c-z5 (50 devices)' });
  t.equal(lost.length, 1);
  t.ok(user + system < 3_000_000, 'a second or so, on a machine that does nothing else');
});

/** One conduit of it has this port. */
function largePlant(port: number): Policy {
  const zones = Array.from({ length: 20 }, (_, i) => `z${i}`);
  const yaml = [
    'gateway: { id: plant }',
    'zones:',
    ...zones.map((zone, i) => `  ${zone}: { vlan: ${i + 1}, subnet: 10.1.${i}.0/24 }`),
    'classes:',
    ...zones.map(
      (zone) => `  c-${zone}: { zone: ${zone}, protocol: modbus, points: { p: { at: "coil:0" } } }`,
    ),
    'devices:',
    ...zones.flatMap((zone, i) =>
      Array.from(
        { length: 50 },
        (_, k) => `  d-${i}-${k}: { class: c-${zone}, at: "modbus-tcp://10.1.${i}.${2 * k + 1}" }`,
      ),
    ),
    'conduits:',
    ...zones.flatMap((from, i) =>
      zones
        .filter((to) => to !== from)
        .concat(i < 20 ? ['gateway'] : [])
        .map((to, k) =>
          to === 'gateway'
            ? `  - { from: ${from}, to: gateway, allow: [https], because: "page" }`
            : `  - { from: ${from}, to: ${to}, only: { from: [c-${from}], to: [c-${to}] }, allow: [tcp/${i === 3 && k === 4 ? port : 502}], because: "reason" }`,
        ),
    ),
    'segmentation: { mode: enforce, management: { zone: z0, from: [10.1.0.9], allow: [ssh] } }',
  ].join('\n');
  return policyOf(yaml);
}
