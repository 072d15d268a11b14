import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import { parseConfig } from '../../src/config/parse.ts';
import { formatProblem } from '../../src/config/problem.ts';
import { declare } from '../../src/segmentation/declare.ts';
import { lint } from '../../src/segmentation/lint.ts';

// What is right and hardly meant.

const HEAD = `gateway: { id: plant }
zones:
  control: { vlan: 10, subnet: 10.0.0.0/24, purdue: 1 }
  office: { vlan: 20, subnet: 10.0.1.0/24, purdue: 4 }
  dmz: { vlan: 30, subnet: 10.0.2.0/24, purdue: 3.5 }
classes: { press: { zone: control, protocol: modbus, points: { p: { at: "coil:0" } } } }
devices: { press-1: { class: press, at: "modbus-tcp://10.0.0.21" } }
segmentation: { mode: observe }
conduits:
`;

function warnings(conduits: readonly string[], head = HEAD): string[] {
  const yaml = `${head}${conduits.map((text) => `  - { ${text}, because: r }\n`).join('')}`;
  const parsed = parseConfig(yaml, '/plant/gateway.yaml', 'g');
  if (!('config' in parsed)) throw new Error(JSON.stringify(parsed.problems));
  const declared = declare(parsed.config);
  if (!('policy' in declared)) throw new Error(JSON.stringify(declared.problems));
  return lint(parsed.config, declared.policy).map((one) => formatProblem(parsed.place(one)));
}

const WIDE = 'from: dmz, to: control, allow: [tcp/1-1000]';
const TO_OFFICE = 'from: dmz, to: office, allow: [https]';

t.test('a plant as it should be is not talked about', async (t) => {
  t.same(warnings([WIDE, TO_OFFICE, 'from: dmz, to: control, allow: [udp/53]']), []);
});

const withUpstream = (host: string): string =>
  HEAD.replace(
    'zones:',
    `mqtt: { upstream: { url: "mqtts://${host}:8883", ca: ./ca.pem } }\nzones:\n  uplink: { interface: eth0 }`,
  );

t.test('an upstream that is a name nobody may be asked for', async (t) => {
  const told =
    'g:2:26: mqtt.upstream.url: broker.example.com is a name, and no conduit lets the gateway ask a name server for it; ' +
    'add { from: gateway, to: uplink, allow: [dns], because: … } with the zone of the name server, or write the address';

  t.same(warnings([WIDE, TO_OFFICE], withUpstream('broker.example.com')), [told]);
  t.same(
    warnings(
      [WIDE, TO_OFFICE, 'from: gateway, to: uplink, allow: [ntp]'],
      withUpstream('broker.example.com'),
    ),
    [told],
  );
  t.same(
    warnings([WIDE, TO_OFFICE, 'from: gateway, to: dmz, allow: [dns]'], withUpstream('broker.example.com')),
    [],
  );
  t.same(
    warnings(
      [WIDE, TO_OFFICE, 'from: gateway, to: dmz, allow: [udp/1-100]'],
      withUpstream('broker.example.com'),
    ),
    [],
  );
  t.same(warnings([WIDE, TO_OFFICE], withUpstream('192.0.2.9')), [], 'an address needs no name server');
});

t.test('a conduit that others make needless', async (t) => {
  t.same(
    warnings([WIDE, TO_OFFICE, 'from: dmz, to: control, allow: [modbus-tcp], only: { to: [press-1] }']),
    [
      'g:12:5: conduits[2]: allows nothing that conduits[0] does not allow already; take it out, or narrow the others',
    ],
  );
  t.same(
    warnings([
      TO_OFFICE,
      'from: dmz, to: control, allow: [tcp/1-600], only: { from: [10.0.2.0/25] }',
      'from: dmz, to: control, allow: [tcp/1-600], only: { from: [10.0.2.128/25] }',
      'from: dmz, to: control, allow: [modbus-tcp]',
    ]),
    [
      'g:13:5: conduits[3]: allows nothing that conduits[1], conduits[2] do not allow already; take it out, or narrow the others',
    ],
    'by several together',
  );
  t.same(
    warnings([TO_OFFICE, 'from: dmz, to: control, allow: [ssh]', 'from: dmz, to: control, allow: [tcp/22]']),
    [
      'g:12:5: conduits[2]: allows nothing that conduits[1] does not allow already; take it out, or narrow the others',
    ],
    'of two that say the same, the later one',
  );
  t.same(
    warnings([TO_OFFICE, 'from: gateway, to: control, allow: [modbus-tcp], only: { to: [press-1] }']),
    [
      'g:11:5: conduits[1]: allows nothing that the devices do not allow already; take it out, or narrow the others',
    ],
    'what the gateway may do anyway',
  );
});

t.test('a conduit past the DMZ, and a zone that nothing leads to', async (t) => {
  t.same(warnings(['from: office, to: control, allow: [ssh]']), [
    'g:10:5: conduits[0]: from level 4 to level 1, past the DMZ (3.5); let both ends talk to something in a zone of level 3.5',
    'g:5:8: zones.dmz: nothing may go into this zone or out of it; add a conduit or devices, or take the zone out',
  ]);
  t.same(warnings(['from: office, to: control, allow: [ssh]'], HEAD.replace('observe', 'off')), []);
});

t.test('check tells them and ends with 0', async (t) => {
  const folder = t.testdir({
    'gateway.yaml': `${HEAD}  - { ${TO_OFFICE}, because: r }\n  - { ${TO_OFFICE}, because: s }\n`.replace(
      'observe',
      'enforce, management: { zone: dmz, from: [10.0.2.9], allow: [ssh] }',
    ),
  });
  // Twins are an error; a part is a warning.
  const twins = check(folder);
  t.equal(twins.status, 78);
  const narrow = t.testdir({
    'gateway.yaml': `${HEAD}  - { ${TO_OFFICE}, because: r }\n  - { from: dmz, to: office, only: { from: [10.0.2.5] }, allow: [https], because: s }\n`,
  });
  const warned = check(narrow);
  t.equal(warned.status, 0);
  t.match(
    warned.stderr,
    /^warning: gateway\.yaml:11:5: conduits\[1\]: allows nothing that conduits\[0\] does not/,
  );
  t.match(warned.stdout, /^gateway\.yaml is right: /);
  const json = check(narrow, '--json');
  t.equal(json.stderr, '');
  t.match(JSON.parse(json.stdout), {
    ok: true,
    problems: [],
    warnings: [{ line: 11, column: 5, path: 'conduits[1]' }],
  });
});

function check(cwd: string, ...args: readonly string[]) {
  const main = join(process.cwd(), 'src/main.ts');
  return spawnSync(process.execPath, [main, 'check', ...args], { cwd, encoding: 'utf8' });
}
