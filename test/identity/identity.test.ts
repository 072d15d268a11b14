import { spawnSync } from 'node:child_process';
import { chmodSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { Facts } from '../../src/core/log.ts';
import { days, epochMs, hours } from '../../src/core/units.ts';
import { openIdentity } from '../../src/identity/identity.ts';
import { HandClock } from '../support/clock.ts';
import { missingPeer } from '../support/peer.ts';

const skip = missingPeer('openssl', 'openssl');
const now = Date.now();

function openssl(args: readonly string[], input?: string): { status: number | null; text: string } {
  const { status, stdout, stderr } = spawnSync('openssl', args, { encoding: 'utf8', input });
  return { status, text: stdout + stderr };
}

const shown = (file: string) => openssl(['x509', '-in', file, '-noout', '-text']).text;

function options(folder: string, addresses: readonly string[] = ['127.0.0.1'], clock = new HandClock(now)) {
  return { folder, gatewayId: 'plant7-line2', addresses, clock };
}

t.test('openssl accepts the certificate strictly, for a server and for a client', { skip }, async (t) => {
  const folder = join(t.testdir(), 'identity');

  await openIdentity(options(folder, ['127.0.0.1', '10.20.20.1', 'gateway.plant', '::1']));

  const [ca, cert] = [join(folder, 'ca.pem'), join(folder, 'gateway.pem')];
  for (const purpose of ['sslserver', 'sslclient']) {
    const { status, text } = openssl(['verify', '-x509_strict', '-purpose', purpose, '-CAfile', ca, cert]);
    t.equal(status, 0, `${purpose}: ${text}`);
  }
  for (const ip of ['127.0.0.1', '10.20.20.1', '::1']) {
    t.equal(openssl(['verify', '-CAfile', ca, '-verify_ip', ip, cert]).status, 0, ip);
  }
  for (const name of ['gateway.plant', 'localhost']) {
    t.equal(openssl(['verify', '-CAfile', ca, '-verify_hostname', name, cert]).status, 0, name);
  }
  t.not(openssl(['verify', '-CAfile', ca, '-verify_ip', '10.20.20.2', cert]).status, 0);

  const leaf = shown(cert);
  t.match(leaf, /Subject: CN = plant7-line2\n/);
  t.match(leaf, /Basic Constraints: critical\n\s+CA:FALSE/);
  t.match(leaf, /Key Usage: critical\n\s+Digital Signature\n/);
  t.match(leaf, /Extended Key Usage: *\n\s+TLS Web Server Authentication, TLS Web Client Authentication\n/);
  t.match(leaf, /ASN1 OID: prime256v1/);
  const authority = shown(ca);
  t.match(authority, /Basic Constraints: critical\n\s+CA:TRUE, pathlen:0/);
  t.match(authority, /Key Usage: critical\n\s+Certificate Sign, CRL Sign\n/);
});

t.test('keys are readable by the owner alone, whatever the umask is', async (t) => {
  const folder = join(t.testdir(), 'identity');
  const before = process.umask(0);
  t.teardown(() => process.umask(before));

  await openIdentity(options(folder));

  t.equal(statSync(folder).mode & 0o777, 0o700);
  for (const name of ['ca.key', 'gateway.key'])
    t.equal(statSync(join(folder, name)).mode & 0o777, 0o600, name);
});

t.test('a key that others could read is closed and told', async (t) => {
  const folder = join(t.testdir(), 'identity');
  await openIdentity(options(folder));
  chmodSync(join(folder, 'ca.key'), 0o644);
  chmodSync(folder, 0o755);

  const lines: string[] = [];
  const log = { info: () => {}, warn: (what: string) => lines.push(what), error: () => {} };
  await openIdentity({ ...options(folder), log });

  t.equal(statSync(join(folder, 'ca.key')).mode & 0o777, 0o600);
  t.equal(statSync(folder).mode & 0o777, 0o700);
  t.match(lines, ['the key of the local CA could be read by others; its mode was set to 0600']);
});

t.test('a second start changes nothing', async (t) => {
  const folder = join(t.testdir(), 'identity');
  const first = await openIdentity(options(folder));
  const files = readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), 'utf8')]);

  const second = await openIdentity(options(folder));

  t.equal(second.ca, first.ca);
  t.equal(second.cert, first.cert);
  t.equal(second.key, first.key);
  t.equal(await second.renewIfDue(), false);
  t.same(
    readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), 'utf8')]),
    files,
  );
});

t.test('the certificate is renewed with the same key when the addresses changed', { skip }, async (t) => {
  const folder = join(t.testdir(), 'identity');
  const first = await openIdentity(options(folder, ['127.0.0.1', '10.20.20.1']));

  const second = await openIdentity(options(folder, ['127.0.0.1']));

  t.not(second.cert, first.cert);
  t.equal(second.key, first.key);
  const text = shown(join(folder, 'gateway.pem'));
  t.match(text, /Subject Alternative Name: *\n\s+IP Address:127.0.0.1, DNS:localhost\n/);
});

t.test('the certificate is renewed when less than a third of its life is left, not before', async (t) => {
  const folder = join(t.testdir(), 'identity');
  const clock = new HandClock(now);
  const identity = await openIdentity(options(folder, ['127.0.0.1'], clock));
  const first = identity.cert;

  await clock.advance(days(59.9));
  t.equal(await identity.renewIfDue(), false);
  t.equal(identity.cert, first);

  await clock.advance(days(0.2));
  t.equal(await identity.renewIfDue(), true);
  t.not(identity.cert, first);
  t.equal(identity.cert, readFileSync(join(folder, 'gateway.pem'), 'utf8'));
  t.equal(identity.notAfter, Math.floor((clock.now() + days(90)) / 1000) * 1000);
  t.equal(await identity.renewIfDue(), false);
});

t.test('a clock that is set back makes a certificate that is valid again', async (t) => {
  const folder = join(t.testdir(), 'identity');
  const first = await openIdentity(options(folder));

  const within = await openIdentity(options(folder, ['127.0.0.1'], new HandClock(now - hours(0.9))));
  t.equal(within.cert, first.cert, 'an hour of skew is covered');
  const behind = await openIdentity(options(folder, ['127.0.0.1'], new HandClock(now - hours(2))));
  t.not(behind.cert, first.cert);
});

t.test('a first start with a clock that was never set makes a CA that lives on when it is', async (t) => {
  const folder = join(t.testdir(), 'identity');
  const first = await openIdentity(options(folder, ['127.0.0.1'], new HandClock(0)));

  const later = await openIdentity(options(folder));

  t.equal(later.ca, first.ca);
  t.ok(later.notAfter > now);
});

t.test(
  'listening everywhere names every address of the machine, its name and localhost',
  { skip },
  async (t) => {
    const folder = join(t.testdir(), 'identity');

    await openIdentity(options(folder, ['0.0.0.0']));

    const text = shown(join(folder, 'gateway.pem'));
    t.match(text, 'IP Address:127.0.0.1');
    t.match(text, 'DNS:localhost');
    t.match(text, `DNS:${hostname()}`);
    t.notMatch(text, 'IP Address:0.0.0.0');
  },
);

t.test('whatever a kill left half-made is mended', { skip }, async (t) => {
  const halves: readonly (readonly string[])[] = [
    ['ca.pem', 'gateway.key', 'gateway.pem', 'issued.jsonl'], // only the key of the CA was made
    ['gateway.key', 'gateway.pem', 'issued.jsonl'],
    ['gateway.pem', 'issued.jsonl'],
    ['gateway.pem'],
    ['gateway.key'],
  ];
  const folder = join(t.testdir(), 'identity');
  for (const missing of halves) {
    rmSync(folder, { recursive: true, force: true });
    await openIdentity(options(folder));
    const caKey = readFileSync(join(folder, 'ca.key'), 'utf8');
    for (const name of missing) rmSync(join(folder, name));

    const identity = await openIdentity(options(folder));

    const what = `without ${missing.join(', ')}`;
    t.equal(readFileSync(join(folder, 'ca.key'), 'utf8'), caKey, what);
    t.equal(
      openssl(['verify', '-x509_strict', '-CAfile', join(folder, 'ca.pem'), join(folder, 'gateway.pem')])
        .status,
      0,
      what,
    );
    t.equal(identity.key, readFileSync(join(folder, 'gateway.key'), 'utf8'), what);
  }
});

t.test(
  'leaves that a lost CA certificate signed verify under the one that is made again',
  { skip },
  async (t) => {
    const folder = join(t.testdir(), 'identity');
    const first = await openIdentity(options(folder));
    rmSync(join(folder, 'ca.pem'));

    const second = await openIdentity(options(folder));

    t.not(second.ca, first.ca);
    t.equal(second.cert, first.cert);
    t.equal(
      openssl(['verify', '-x509_strict', '-CAfile', join(folder, 'ca.pem'), join(folder, 'gateway.pem')])
        .status,
      0,
    );
  },
);

t.test('a garbled certificate of the gateway is replaced', async (t) => {
  const folder = join(t.testdir(), 'identity');
  await openIdentity(options(folder));
  writeFileSync(join(folder, 'gateway.pem'), '-----BEGIN CERTIFICATE-----\nMIIB');

  const identity = await openIdentity(options(folder));

  t.match(identity.cert, /-----END CERTIFICATE-----\n$/);
  t.equal(readFileSync(join(folder, 'gateway.pem'), 'utf8'), identity.cert);
});

t.test('what a person has to decide is said, with the remedy and without the key', async (t) => {
  const root = t.testdir();
  const [folder, other] = [join(root, 'identity'), join(root, 'other')];
  await openIdentity(options(other));
  const secret = readFileSync(join(other, 'ca.key'), 'utf8').split('\n')[1] ?? '';
  const wrong: readonly (readonly [RegExp, () => void])[] = [
    [/ca\.pem is there, but its key .*ca\.key is missing/, () => rmSync(join(folder, 'ca.key'))],
    [/ca\.key is not a private key/, () => writeFileSync(join(folder, 'ca.key'), secret)],
    [/ca\.key is not a private key/, () => writeFileSync(join(folder, 'ca.key'), '')],
    [
      /ca\.pem does not belong to the key/,
      () => writeFileSync(join(folder, 'ca.key'), readFileSync(join(other, 'ca.key'))),
    ],
    [/ca\.pem is not a certificate/, () => writeFileSync(join(folder, 'ca.pem'), 'nothing')],
  ];
  for (const [says, harm] of wrong) {
    rmSync(folder, { recursive: true, force: true });
    await openIdentity(options(folder));
    harm();

    const error = await openIdentity(options(folder)).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );

    t.match(error, { code: 'SETUP', message: says, remedy: /backup/ });
    t.notMatch(JSON.stringify(error, Object.getOwnPropertyNames(error ?? {})), secret);
  }
});

t.test('an expired CA is said, and the clock is named as the likely cause', async (t) => {
  const folder = join(t.testdir(), 'identity');
  await openIdentity(options(folder));

  const late = new HandClock(now + days(3_654));

  await t.rejects(openIdentity(options(folder, ['127.0.0.1'], late)), {
    code: 'SETUP',
    remedy: /set the clock/,
  });
});

t.test('near the end of the CA a leaf ends with it', async (t) => {
  const folder = join(t.testdir(), 'identity');
  await openIdentity(options(folder));

  const identity = await openIdentity(options(folder, ['127.0.0.1'], new HandClock(now + days(3_640))));

  t.equal(identity.notAfter, Math.floor(epochMs(now + days(3_653)) / 1000) * 1000);
});

t.test('drafts that a killed process left behind go away, fresh ones stay', async (t) => {
  const folder = join(t.testdir(), 'identity');
  await openIdentity(options(folder));
  for (const name of ['.ca.key.0011.draft', '.ca.key.0022.draft']) writeFileSync(join(folder, name), '');
  spawnSync('touch', ['-d', '1 hour ago', join(folder, '.ca.key.0011.draft')]);

  await openIdentity(options(folder));

  t.same(
    readdirSync(folder).filter((name) => name.endsWith('.draft')),
    ['.ca.key.0022.draft'],
  );
});

t.test('nothing that is logged holds a key', async (t) => {
  const folder = join(t.testdir(), 'identity');
  const lines: string[] = [];
  const note = (what: string, facts?: Facts) => lines.push(what + JSON.stringify(facts));

  const identity = await openIdentity({ ...options(folder), log: { info: note, warn: note, error: note } });

  t.ok(lines.length > 0);
  for (const line of lines) t.notMatch(line, identity.key.split('\n')[1]);
  t.notMatch(readFileSync(join(folder, 'issued.jsonl'), 'utf8'), identity.key.split('\n')[1]);
});
