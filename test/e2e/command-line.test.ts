import { spawnSync } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Authority } from '../support/certificates.ts';
import { REPOSITORY, Running, SLUICE } from '../support/process.ts';
import { makeSite, type Site } from '../support/site.ts';
import { sluice } from './sluice.ts';
import { until } from '../support/wait.ts';

const SHIPPED = join(REPOSITORY, 'gateway.yaml');

async function siteOf(t: Test, mqtt?: string): Promise<Site> {
  const site = await makeSite(mqtt === undefined ? {} : { mqtt });
  t.teardown(() => site.remove());
  return site;
}

/** Is there a process with this in its command line? */
function runs(words: string): boolean {
  return readdirSync('/proc').some((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').includes(words);
    } catch {
      return false; // no process, or one that has just ended
    }
  });
}

t.test('check --json answers also where the file cannot be read', async (t) => {
  const { status, out } = sluice('check', '--json', 'nowhere.yaml');

  t.equal(status, 78);
  t.match(JSON.parse(out), { ok: false, problems: [{ file: 'nowhere.yaml', found: /there is no file/ }] });
});

t.test('plan shows what is asked for, what is observed and what is pushed', async (t) => {
  const { out } = sluice('plan', SHIPPED);

  t.match(
    out,
    /^ {2}every 1000 ms {2}meter-main {2}input 0\.\.5 of unit 1: voltage-l1 voltage-l2 voltage-l3$/m,
  );
  t.match(out, /^ {2}observed: tank-3\/level$/m);
  t.match(out, /^ {2}pushed by the device: vibration-press-1\/velocity vibration-press-1\/alarm$/m);
});

t.test('a reader that leaves early is no error', async (t) => {
  const broken = spawnSync('sh', ['-c', `{ ${SLUICE} plan ${SHIPPED}; echo "ended $?" >&2; } | true`], {
    encoding: 'utf8',
  });
  t.equal(broken.stderr, 'ended 0\n');

  const site = await siteOf(t);
  const line = `${SLUICE} demo '${site.file}'; echo "ended $?" >&2`;
  const looked = spawnSync('sh', ['-c', `{ ${line}; } | grep -q '^telemetry/'`], { encoding: 'utf8' });
  t.match(looked.stderr, /^ended 0$/m, 'the demo stops in order');
  t.notOk(runs(`simulate --json ${site.file}`), 'and its plant with it');
});

t.test('a data folder that cannot be made is one sentence', async (t) => {
  const site = await siteOf(t);
  writeFileSync(join(site.folder, 'data'), 'a file in its place');

  const { status, err } = sluice('run', site.file);

  t.equal(status, 1);
  t.match(err, /^sluice: cannot use the data folder [^\n]*\/data: [^\n]*; give it to the user[^\n]*\n$/);
});

t.test('files for the upstream that do not fit are one sentence each', async (t) => {
  const site = await siteOf(
    t,
    '{ upstream: { url: "mqtts://127.0.0.1:1", ca: ./ca.pem, cert: ./gw.pem, key: ./gw.key } }',
  );
  const authority = new Authority(site.folder);
  const [own, other] = [authority.issue('gw'), authority.issue('other')];
  const refusal = (ca: string, cert: string, key: string): string => {
    writeFileSync(join(site.folder, 'ca.pem'), ca);
    writeFileSync(join(site.folder, 'gw.pem'), cert);
    writeFileSync(join(site.folder, 'gw.key'), key);
    const { status, err } = sluice('run', site.file);
    t.equal(status, 1);
    t.match(err.trimEnd().split('\n').at(-1), /^sluice: [^;]+; .+/);
    return err;
  };
  const cut = own.cert.replace(/\n[^-]+\n/, '\nMIIB\n');
  const { stdout: locked } = spawnSync('openssl', ['ec', '-aes256', '-passout', 'pass:secret'], {
    input: own.key,
    encoding: 'utf8',
  });

  t.match(
    refusal(own.ca, own.cert, other.key),
    /gw\.key does not belong to the certificate .*gw\.pem; let mqtt/,
  );
  t.match(refusal(own.ca, cut, own.key), /gw\.pem, which mqtt\.upstream\.cert names, is no certificate/);
  t.match(refusal(cut, own.cert, own.key), /ca\.pem, which mqtt\.upstream\.ca names, is no certificate/);
  t.match(refusal(own.ca, own.cert, locked), /gw\.key, which mqtt\.upstream\.key names, is encrypted/);
});

t.test('it runs from a folder with a space in its name, through a link, from anywhere', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sluice place-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const home = join(folder, 'my plant');
  mkdirSync(home);
  for (const name of ['src', 'sluice', 'package.json']) {
    cpSync(join(REPOSITORY, name), join(home, name), { recursive: true });
  }
  // Everything is installed; nothing may be installed through the link.
  mkdirSync(join(home, 'deploy'));
  writeFileSync(join(home, 'deploy/setup.sh'), '#!/bin/sh\n', { mode: 0o755 });
  symlinkSync(join(REPOSITORY, 'node_modules'), join(home, 'node_modules'));
  symlinkSync(join(home, 'sluice'), join(folder, 'sluice'));
  const site = await siteOf(t);

  const demo = new Running(join(folder, 'sluice'), ['demo', site.file], { cwd: '/' });
  t.teardown(async () => demo.stop('SIGKILL'));

  await demo.says(/^telemetry\/meter-1 #\d+ {2}voltage /);
  t.equal(await demo.stop('SIGINT'), 0);
});

t.test('the demo starts again after kill -9, and with an identity that was made anew', async (t) => {
  const site = await siteOf(t);
  const first = new Running(SLUICE, ['demo', site.file]);
  t.teardown(async () => first.stop('SIGKILL'));
  await first.says(/^telemetry\/meter-1 #/);
  const stale = readFileSync(join(site.folder, 'data/credentials/demo-screen.pem'), 'utf8');

  await first.stop('SIGKILL');
  await until('the plant to go with the demo', () => !runs(`simulate --json ${site.file}`));
  rmSync(join(site.folder, 'data/identity'), { recursive: true });
  const second = new Running(SLUICE, ['demo', site.file]);
  t.teardown(async () => second.stop('SIGKILL'));

  await second.says(/^telemetry\/meter-1 #/);
  t.not(readFileSync(join(site.folder, 'data/credentials/demo-screen.pem'), 'utf8'), stale);
  t.equal(await second.stop('SIGTERM'), 0);
});
