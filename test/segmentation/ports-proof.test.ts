import { readFileSync } from 'node:fs';
import t from 'tap';
import { holds } from '../../src/netd/bring.ts';
import { delta } from '../../src/segmentation/delta.ts';
import { prove } from '../../src/segmentation/prove.ts';
import { noRules } from '../support/namespace.ts';
import { afterSteps, told } from './listed.ts';
import { policyOf, rulesOf } from './policies.ts';

// The table of the bridge in the kernel: read back, proven, changed by hand, and healed.

const skip = noRules();
const PLANT = readFileSync('test/golden/segmentation/30-access-ports-of-a-bridge/gateway.yaml', 'utf8');
const policy = policyOf(PLANT);

const rules = (yaml: string): number => rulesOf(yaml).split('{"rule":{"family":"bridge"').length;

t.test('what a stranger does to it is seen, and undone', { skip }, async (t) => {
  const document = rulesOf(PLANT);
  const strange: readonly (readonly [string, RegExp])[] = [
    ['delete table bridge sluice', /nothing: there is no table bridge sluice/],
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
    [
      'delete element bridge sluice s_about { lan1 . 02:00:00:00:10:22 . 0x00001022 }',
      /kind ipv6, .*declared/,
    ],
    ['delete element bridge sluice s_own_6 { fe80::1 }', /kind ipv6, .*not declared/],
    [
      'insert rule bridge sluice g_ports counter name ether saddr map { 02:00:00:00:00:99 : "n_denied_tagged" } drop',
      /counts by more than a name/,
    ],
    ['add chain bridge sluice theirs { type filter hook forward priority 0; }', /2 chains hang/],
    ['flush chain bridge sluice g_between', /held .*in quarantine, not declared/],
    ['delete element bridge sluice s_apart { lan1 }', /hook forward, .*port lan1, .*not declared/],
    ['add element bridge sluice s_apart { eth9 }', /port eth9, .*out lan1, .*declared/],
    ['insert rule bridge sluice g_between ether saddr 02:00:00:00:10:21 accept', /not declared/],
    ['insert rule bridge sluice g_between ip daddr 10.20.10.9 accept', /looks at who only/],
    ['insert rule bridge sluice g_between drop', /hook forward, .*, declared/],
    [
      'flush chain bridge sluice g_between\ndelete chain bridge sluice g_between\n',
      /no chain hangs on forward/,
    ],
  ];

  const changed = afterSteps(
    t,
    strange.map(([change]) => [document, change]),
  );
  const healings = changed.map((listing) => delta(listing, document).document ?? '');
  const healed = afterSteps(
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
  const [listing] = afterSteps(t, [[document]]);
  const [grown, gone] = [delta(listing, more), delta(listing, none)];

  const [wider, bare] = afterSteps(t, [
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
