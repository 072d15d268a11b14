import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';

/** The command as a person runs it. */
function firewall(args: readonly string[], cwd: string) {
  const main = join(process.cwd(), 'src/main.ts');
  return spawnSync(process.execPath, [main, 'firewall', ...args], { cwd, encoding: 'utf8' });
}

const zones = '{ control: { vlan: 10, subnet: 10.0.0.0/24 }, uplink: { interface: eth0 } }';

t.test('render prints JSON and nothing else', async (t) => {
  const folder = t.testdir({
    'gateway.yaml': `gateway: { id: plant }\nzones: ${zones}\nsegmentation: { mode: observe }\n`,
  });
  const { status, stdout, stderr } = firewall(['render'], folder);

  t.equal(stderr, '');
  t.equal(status, 0);
  t.match(JSON.parse(stdout), { nftables: [{ add: { table: { family: 'inet', name: 'sluice' } } }] });
});

t.test('where segmentation is off, the rules are taken away', async (t) => {
  const folder = t.testdir({ 'plant.yaml': `gateway: { id: plant }\nzones: ${zones}\n` });
  const table = { table: { family: 'inet', name: 'sluice' } };

  t.same(JSON.parse(firewall(['render', 'plant.yaml'], folder).stdout), {
    nftables: [{ add: table }, { delete: table }],
  });
});

t.test('what no rule can express is refused, every contradiction at once', async (t) => {
  const folder = t.testdir({
    'gateway.yaml': `
gateway: { id: plant }
coap: { listen: "10.0.0.1:5683" }
zones: { control: { vlan: 10, subnet: [10.0.0.0/24, "fd00::/64"] }, other: { vlan: 20, subnet: 10.0.1.0/24 }, loose: { interface: eth9 } }
conduits: [{ from: control, to: other, allow: [ssh], because: maintenance, only: { from: [pump] } }]
classes:
  c: { zone: control, protocol: coap, points: { p: { push: true } } }
  o: { zone: loose, protocol: coap, points: { p: { at: /p } } }
devices: { pump: { class: c, at: "coap://[fd00::5]" }, fan: { class: o, at: "coap://10.0.1.9" } }
segmentation: { mode: observe }
`,
  });
  const { status, stdout, stderr } = firewall(['render'], folder);

  t.equal(status, 78);
  t.equal(stdout, '');
  t.equal(
    stderr,
    'gateway.yaml:5:12: conduits[0]: no packet can flow from control to other; choose addresses of one family, or take it out\n' +
      'gateway.yaml:9:34: devices.pump.at: pushes from fd00::5, and coap.listen is 10.0.0.1; let coap.listen have an address of the same family, or [::]\n' +
      'gateway.yaml:9:77: devices.fan.at: 10.0.1.9 lies in zone other, and the device in loose; use an address of its own zone, or another class\n' +
      'sluice: gateway.yaml has 3 problems; nothing was started\n',
  );
});

t.test('wrong usage says what there is', async (t) => {
  const folder = t.testdir({ 'gateway.yaml': 'gateway: { id: Plant }' });

  t.match(firewall([], folder), {
    status: 64,
    stdout: '',
    stderr: /there are render, prove, plan, probe, audit, apply/,
  });
  t.match(firewall(['rendr'], folder), { status: 64, stdout: '', stderr: /did you mean render\?/ });
  t.match(firewall(['render', 'a', 'b'], folder), { status: 64, stdout: '' });
  t.match(firewall(['render'], folder), { status: 78, stdout: '', stderr: /gateway\.id: "Plant"/ });
  t.match(firewall(['--help'], folder), {
    status: 0,
    stdout: /probe {3}builds a twin of the plant/,
  });
});
