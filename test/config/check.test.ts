import { spawnSync } from 'node:child_process';
import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';

/** The command as a person runs it; `node` is the runtime of this test. */
function sluice(args: readonly string[], cwd: string) {
  const main = join(process.cwd(), 'src/main.ts');
  return spawnSync(process.execPath, [main, ...args], { cwd, encoding: 'utf8' });
}

const WRONG =
  'gateway:\n  id: Plant\nzones: { a: { vlan: 1, subnet: 10.0.0.0/24 } }\ndevices:\n  d: { class: c, at: "coap://10.0.0.5" }\n';

t.test('a right file ends with 0 and a summary', async (t) => {
  const folder = t.testdir({ 'gateway.yaml': 'gateway: { id: plant }\n' });
  const { status, stdout, stderr } = sluice(['check'], folder);

  t.equal(status, 0);
  t.equal(stdout, 'gateway.yaml is right: 0 devices, 0 points, 0 zones, 0 conduits\n');
  t.equal(stderr, '');
});

t.test('a wrong file ends with 78 and every problem, as a compiler prints them', async (t) => {
  const folder = t.testdir({ plant: { 'gateway.yaml': WRONG } });
  const { status, stdout, stderr } = sluice(['check', 'plant/gateway.yaml'], folder);

  t.equal(status, 78);
  t.equal(stdout, '');
  t.equal(
    stderr,
    'plant/gateway.yaml:2:7: gateway.id: "Plant"; write up to 31 of a-z, 0-9 and "-", beginning with a letter\n' +
      'plant/gateway.yaml:5:15: devices.d.class: no class "c"; declare it under classes\n' +
      '2 problems\n',
  );
});

t.test('a program may read the problems', async (t) => {
  const folder = t.testdir({ 'gateway.yaml': WRONG, right: 'gateway: { id: plant }' });
  const wrong = sluice(['check', '--json'], folder);
  const right = sluice(['check', '--json', 'right'], folder);

  t.equal(wrong.status, 78);
  t.match(JSON.parse(wrong.stdout), {
    file: 'gateway.yaml',
    ok: false,
    problems: [
      { file: 'gateway.yaml', line: 2, column: 7, path: 'gateway.id', found: '"Plant"' },
      {
        line: 5,
        column: 15,
        path: 'devices.d.class',
        found: 'no class "c"',
        fix: 'declare it under classes',
      },
    ],
  });
  t.equal(right.status, 0);
  t.same(JSON.parse(right.stdout), { file: 'right', ok: true, problems: [], warnings: [] });
});

t.test('a file that cannot be read is one clear sentence with the remedy', async (t) => {
  const folder = t.testdir({
    folder: {},
    binary: Buffer.from([0x67, 0xff, 0xfe]),
    locked: 'gateway: { id: a }',
  });
  chmodSync(join(folder, 'locked'), 0);
  const missing = sluice(['check', 'nowhere.yaml'], folder);

  t.equal(missing.status, 78);
  t.equal(
    missing.stderr,
    'sluice: there is no file nowhere.yaml; name the configuration as last argument, as in ./sluice check plant/gateway.yaml\n',
  );
  t.match(sluice(['check', 'folder'], folder), {
    status: 78,
    stderr: /^sluice: folder is a folder; [^\n]*\n$/,
  });
  t.match(sluice(['check', 'binary'], folder), {
    status: 78,
    stderr: /^sluice: binary is not text in UTF-8; [^\n]*\n$/,
  });
  if (process.getuid?.() !== 0) {
    t.match(sluice(['check', 'locked'], folder), { status: 78, stderr: /^sluice: locked may not be read/ });
  }
});

t.test('wrong usage ends with 64, help with 0', async (t) => {
  const folder = t.testdir({});

  t.equal(sluice(['check', '--jason'], folder).status, 64);
  t.equal(sluice(['check', 'a', 'b'], folder).status, 64);
  t.equal(sluice(['schema', 'a'], folder).status, 64);
  t.match(sluice(['check', '--help'], folder), { status: 0, stdout: /^Usage: \.\/sluice check/ });
  t.match(sluice(['schema', '--help'], folder), { status: 0, stdout: /^Usage: \.\/sluice schema/ });
  t.match(sluice(['schema'], folder), {
    status: 0,
    stdout: /"\$schema": "https:\/\/json-schema\.org\/draft\/2020-12\/schema"/,
  });
});
