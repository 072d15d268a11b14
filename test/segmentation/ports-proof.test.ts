import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { holds } from '../../src/netd/bring.ts';
import { delta } from '../../src/segmentation/delta.ts';
import { mergedListings } from '../../src/segmentation/listing.ts';
import { prove } from '../../src/segmentation/prove.ts';
import { inNamespace, noRules } from '../support/namespace.ts';
import { told } from './listed.ts';
import { policyOf, rulesOf } from './policies.ts';

// The table of the bridge in the kernel: read back, proven, changed by hand, and healed.

const skip = noRules();
const PLANT = readFileSync('test/golden/segmentation/30-access-ports-of-a-bridge/gateway.yaml', 'utf8');
const policy = policyOf(PLANT);

const rules = (yaml: string): number => rulesOf(yaml).split('{"rule":{"family":"bridge"').length;

/** What both tables are after each list of steps; a step is JSON or text of nft. */
function listed(t: Test, cases: readonly (readonly string[])[]): (string | undefined)[] {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-ports-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  for (const [i, steps] of cases.entries()) {
    for (const [k, step] of steps.entries()) writeFileSync(join(folder, `${i}.${k}`), step);
  }
  const ran = inNamespace(
    `cd "$1"; i=0
while [ -f $i.0 ]; do
  nft flush ruleset; k=0
  while [ -f $i.$k ]; do
    case "$(head -c 1 $i.$k)" in '{') nft -j -f $i.$k ;; *) nft -f $i.$k ;; esac
    k=$((k+1))
  done
  for family in inet bridge; do nft -j list table $family sluice > $i.$family 2>/dev/null || : > $i.$family; done
  i=$((i+1))
done`,
    folder,
  );
  if (ran.status !== 0) throw new Error(ran.stderr);
  return cases.map((_, i) =>
    mergedListings(
      ['inet', 'bridge']
        .map((family) => readFileSync(join(folder, `${i}.${family}`), 'utf8'))
        .filter((text) => text !== ''),
    ),
  );
}

t.test('what a stranger does to it is seen, and undone', { skip }, async (t) => {
  const document = rulesOf(PLANT);
  const strange: readonly (readonly [string, RegExp])[] = [
    ['delete table bridge sluice', /nothing guards the access ports/],
    ['flush chain bridge sluice g_ports', /not declared, by g_ports, at its end/],
    ['insert rule bridge sluice g_arp accept', /kind arp, .*not declared/],
    ['flush set bridge sluice s_ip_4', /kind ipv4, .*, declared/],
    [
      'add element bridge sluice s_arp { lan2 . 02:00:00:00:10:21 . 02:00:00:00:10:21 . 10.20.10.21 }',
      /^proven/,
    ],
    [
      'add element bridge sluice s_arp { lan1 . 02:00:00:00:10:21 . 02:00:00:00:10:21 . 10.20.10.9 }',
      /kind arp, .*not declared/,
    ],
    ['add element bridge sluice s_port_mac { lan3 . 02:00:00:00:10:21 }', /not declared/],
    ['delete element bridge sluice s_strict { lan1 }', /not declared/],
    ['delete element bridge sluice s_access { lan2 }', /not declared/],
    ['insert rule bridge sluice g_ports ether daddr 02:00:00:00:00:01 accept', /looks at/],
    ['insert rule bridge sluice g_ports meta mark set 7', /looks at/],
    ['delete element bridge sluice s_about { lan1 . 02:00:00:00:10:22 . 2 }', /kind ipv6, .*declared/],
    ['delete element bridge sluice s_own_6 { fe80::1 }', /kind ipv6, .*not declared/],
    ['add chain bridge sluice theirs { type filter hook forward priority 0; }', /2 chains hang/],
  ];

  const changed = listed(
    t,
    strange.map(([change]) => [document, change]),
  );
  const healings = changed.map((listing) => delta(listing, document).document ?? '');
  const healed = listed(
    t,
    strange.map(([change], i) => [document, change, healings[i] ?? '']),
  );

  for (const [i, [change, says]] of strange.entries()) {
    t.match(told(prove(policy, changed[i] ?? '')).join('; '), says, change);
    t.equal(holds(changed[i], document), false, `seen: ${change}`);
    t.equal(holds(healed[i], document), true, `undone: ${change}`);
    t.equal(prove(policy, healed[i] ?? '').proven, true);
  }
});

t.test('a new device is elements, and ports that go take the table with them', { skip }, async (t) => {
  const document = rulesOf(PLANT);
  const more = rulesOf(PLANT.replace('  meter-3:', '  press-3: { class: press, at: "modbus-tcp://10.20.10.23", mac: "02:00:00:00:10:23" }\n  meter-3:')); // biome-ignore format: one line reads better
  const none = rulesOf(PLANT.replaceAll(/, ports: \[[^\]]*\]|, unknown-macs: allow|, port: lan1/g, ''));
  const [listing] = listed(t, [[document]]);
  const [grown, gone] = [delta(listing, more), delta(listing, none)];

  const [wider, bare] = listed(t, [
    [document, grown.document ?? ''],
    [document, gone.document ?? ''],
  ]);

  t.same(grown.replaces, []);
  t.equal(grown.changes.chains, 1, 'the chain that knows whose address is whose');
  t.equal(holds(wider, more), true);
  t.match(gone.replaces, ['at the ports: the table is taken away']);
  t.equal(holds(bare, none), true);
  t.notMatch(bare, /"bridge"/);
});

t.test('rules are as many for hundreds of devices as for three', async (t) => {
  const devices = Array.from({ length: 300 }, (_, i) => {
    const host = `10.20.10.${(i % 200) + 30}`;
    const mac = `02:00:00:01:0${i >> 8}:${(i & 255).toString(16).padStart(2, '0')}`;
    return i < 200 ? `  many-${i}: { class: press, at: "modbus-tcp://${host}", mac: "${mac}" }\n` : '';
  });

  t.equal(rules(PLANT.replace('  meter-3:', `${devices.join('')}  meter-3:`)), rules(PLANT));
});
