import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { run } from '../../src/cli/credentials.ts';
import { systemClock } from '../../src/core/clock.ts';
import { openIdentity } from '../../src/identity/identity.ts';
import { missingPeer } from '../support/peer.ts';
import { freeTcpPort } from '../support/ports.ts';
import { until } from '../support/wait.ts';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const skip = missingPeer('mosquitto', 'mosquitto') || missingPeer('mosquitto_sub', 'mosquitto-clients');

const yaml = (port: number) => `
gateway: { id: plant7-line2, data: ./data }
mqtt: { embedded: { listen: "127.0.0.1:${port}" } }
`;

function sluice(cwd: string, ...args: string[]): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, [MAIN, 'credentials', ...args], { cwd, encoding: 'utf8' });
}

t.test(
  'the line that is printed subscribes to a real broker with the certificates of the gateway',
  { skip },
  async (t) => {
    const port = await freeTcpPort();
    const root = t.testdir({ 'gateway.yaml': yaml(port) });

    const { status, stdout, stderr } = sluice(root, 'issue', 'platform', '--out', 'my credentials');
    t.equal(status, 0, stderr);
    const line = /^ {2}(mosquitto_sub .*)$/m.exec(stdout)?.[1] ?? '';
    t.match(line, / -i platform .* -t 'sluice\/plant7-line2\/#'$/);
    t.equal(statSync(join(root, 'my credentials', 'platform.key')).mode & 0o777, 0o600);

    const folder = join(root, 'data', 'identity');
    await openIdentity({ folder, gatewayId: 'plant7-line2', addresses: ['127.0.0.1'], clock: systemClock });
    const broker = join(root, 'mosquitto.conf');
    writeFileSync(
      broker,
      `user root\nallow_anonymous false\nlistener ${port} 127.0.0.1\ncafile ${folder}/ca.pem\ncertfile ${folder}/gateway.pem
keyfile ${folder}/gateway.key\nrequire_certificate true\nuse_identity_as_username true\n`,
    );
    const mosquitto = spawn('mosquitto', ['-c', broker], { stdio: 'ignore' });
    t.teardown(async () => {
      mosquitto.kill('SIGKILL');
      if (mosquitto.exitCode === null && mosquitto.signalCode === null) await once(mosquitto, 'close');
    });
    const publish = `${line.replace('mosquitto_sub', 'mosquitto_pub').replace('-i platform', '-i other').replace(' -v ', ' ').replace(/-t .*/, '')} -t sluice/plant7-line2/status -r -m hello`;
    await until(
      'the broker takes a message',
      () => spawnSync('sh', ['-c', publish], { cwd: root }).status === 0,
    );

    const heard = spawnSync('sh', ['-c', `${line} -C 1 -W 10`], { cwd: root, encoding: 'utf8' });

    t.equal(heard.stdout, 'sluice/plant7-line2/status hello\n', heard.stderr);
  },
);

t.test('a program can read what was issued', (t) => {
  const root = t.testdir({ plant: { 'gateway.yaml': yaml(8883) } });

  const { status, stdout } = sluice(
    root,
    'issue',
    'hmi',
    '--may-command',
    '--days',
    '7',
    '--out',
    'out',
    '--json',
    'plant/gateway.yaml',
  );

  t.equal(status, 0);
  const said: unknown = JSON.parse(stdout);
  t.match(said, {
    name: 'hmi',
    ca: join(root, 'out', 'ca.pem'),
    cert: join(root, 'out', 'hmi.pem'),
    key: join(root, 'out', 'hmi.key'),
    'may-command': true,
    subscribe: /^mosquitto_sub /,
  });
  t.equal(
    readFileSync(join(root, 'out', 'ca.pem'), 'utf8'),
    readFileSync(join(root, 'plant', 'data', 'identity', 'ca.pem'), 'utf8'),
    'data lies beside the configuration',
  );
  t.end();
});

t.test('wrong usage is status 64 and one line, and nothing is made', async (t) => {
  const root = t.testdir({ 'gateway.yaml': yaml(8883) });
  const file = join(root, 'gateway.yaml');
  const wrong: readonly (readonly [RegExp, ...string[]])[] = [
    [/takes a verb/],
    [/no verb "revoke"/, 'revoke', 'platform'],
    [/takes a name/, 'issue', '--out', 'out'],
    [/takes --out DIR/, 'issue', 'platform'],
    [/one argument too many/, 'issue', 'platform', 'gateway.yaml', 'more', '--out', 'out'],
    [/--days 0 is no whole number/, 'issue', 'platform', '--out', 'out', '--days', '0'],
    [/cannot outlive the CA/, 'issue', 'platform', '--out', join(root, 'out'), '--days', '9999', file],
    [/cannot be the name/, 'issue', '../platform', '--out', join(root, 'out'), file],
    [/taken by the gateway itself/, 'issue', 'plant7-line2', '--out', join(root, 'out'), file],
    [/Unknown option '--froce'/, 'issue', 'platform', '--out', 'out', '--froce'],
  ];

  // In this process, because a start costs a third of a second; one of them with everything around it.
  for (const [says, ...args] of wrong) {
    await t.rejects(run(args), { code: 'USAGE', message: says }, args.join(' '));
  }
  const { status, stderr } = sluice(root, 'issue', '../platform', '--out', 'out');
  t.equal(status, 64);
  t.match(stderr, /^sluice: "..\/platform" cannot be the name of a credential; use .*\n$/);

  t.notOk(existsSync(join(root, 'data')));
  t.notOk(existsSync(join(root, 'out')));
});

t.test('a wrong configuration is status 78, a key in the way status 1', (t) => {
  const root = t.testdir({ 'gateway.yaml': yaml(8883) });

  t.equal(sluice(root, 'issue', 'platform', '--out', 'out', 'missing.yaml').status, 78);
  t.equal(sluice(root, 'issue', 'platform', '--out', 'out').status, 0);
  const again = sluice(root, 'issue', 'platform', '--out', 'out');
  t.equal(again.status, 1);
  t.match(again.stderr, /platform\.key is there already; .*--force/);
  t.end();
});
