import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import tls from 'node:tls';
import t from 'tap';
import { days } from '../../src/core/units.ts';
import { type CredentialRequest, issueCredential } from '../../src/identity/credential.ts';
import { type Identity, openIdentity } from '../../src/identity/identity.ts';
import { newKeyPem } from '../../src/identity/key.ts';
import { HandClock } from '../support/clock.ts';
import { missingPeer } from '../support/peer.ts';

const skip = missingPeer('openssl', 'openssl');
const clock = new HandClock(Date.now());

function request(root: string, more: Partial<CredentialRequest> = {}): CredentialRequest {
  return {
    folder: join(root, 'identity'),
    gatewayId: 'plant7-line2',
    name: 'platform',
    mayCommand: false,
    out: join(root, 'out'),
    clock,
    ...more,
  };
}

const openAt = (root: string, addresses = ['127.0.0.1']): Promise<Identity> =>
  openIdentity({ folder: join(root, 'identity'), gatewayId: 'plant7-line2', addresses, clock });

const openssl = (args: readonly string[]) => spawnSync('openssl', args, { encoding: 'utf8' });

t.test('a credential works before the first start, and the gateway then uses the same CA', async (t) => {
  const root = t.testdir();

  const { ca, key } = await issueCredential(request(root));
  const identity = await openAt(root);

  t.equal(readFileSync(ca, 'utf8'), identity.ca);
  t.equal(statSync(key).mode & 0o777, 0o600);
  t.equal(statSync(join(root, 'out')).mode & 0o777, 0o700);
});

t.test('openssl accepts it strictly as a client, and only as that', { skip }, async (t) => {
  const root = t.testdir();

  const { ca, cert, notAfter } = await issueCredential(request(root));

  const verify = (purpose: string) =>
    openssl(['verify', '-x509_strict', '-purpose', purpose, '-CAfile', ca, cert]).status;
  t.equal(verify('sslclient'), 0);
  t.not(verify('sslserver'), 0);
  const text = openssl(['x509', '-in', cert, '-noout', '-text', '-nameopt', 'RFC2253']).stdout;
  t.match(text, /Subject: CN=platform\n/);
  t.match(text, /Extended Key Usage: *\n\s+TLS Web Client Authentication\n/);
  const end = openssl(['x509', '-in', cert, '-noout', '-enddate', '-dateopt', 'iso_8601']).stdout;
  t.equal(
    Date.parse(end.replace('notAfter=', '').trim().replace(' ', 'T')),
    Math.floor(notAfter / 1000) * 1000,
  );
  t.equal(notAfter, clock.now() + days(365));
});

t.test('may-command stands in the certificate and on the list', { skip }, async (t) => {
  const root = t.testdir();

  const { cert, serial } = await issueCredential(request(root, { mayCommand: true, life: days(7) }));

  const shown = openssl(['x509', '-in', cert, '-noout', '-subject', '-serial', '-nameopt', 'RFC2253']).stdout;
  t.match(shown, 'subject=OU=may-command,CN=platform\n');
  t.match(shown, `serial=${serial.toUpperCase()}\n`);
  const listed: unknown = JSON.parse(readFileSync(join(root, 'identity', 'issued.jsonl'), 'utf8'));
  t.match(listed, {
    serial,
    name: 'platform',
    rights: ['read', 'command'],
    'not-after': new Date(clock.now() + days(7)).toISOString(),
  });
});

/** A server as the broker is one; answers what it knows of each client, or why the handshake failed. */
async function meet(server: Identity, client: tls.ConnectionOptions): Promise<string> {
  const listener = tls.createServer(
    { ca: server.ca, cert: server.cert, key: server.key, requestCert: true, rejectUnauthorized: true },
    (socket) => {
      const { subject } = socket.getPeerCertificate();
      socket.on('error', () => {}).end(`${String(subject.CN)} ${String(subject.OU)}`);
    },
  );
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address() as AddressInfo; // eslint-disable-line -- a TCP server has a port
  try {
    const socket = tls.connect({ host: '127.0.0.1', port, ...client });
    let said = '';
    socket.on('data', (chunk: Buffer) => (said += chunk.toString()));
    await once(socket, 'close');
    return said;
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error);
  } finally {
    await new Promise((resolve) => listener.close(resolve));
  }
}

t.test('gateway and client trust one another over TLS, and nobody else', async (t) => {
  const root = t.testdir();
  const identity = await openAt(root);
  const files = await issueCredential(request(root, { mayCommand: true }));
  const client = {
    ca: readFileSync(files.ca),
    cert: readFileSync(files.cert),
    key: readFileSync(files.key),
  };
  const foreign = await openAt(join(root, 'foreign'));

  t.equal(await meet(identity, client), 'platform may-command');
  t.equal(await meet(identity, { ...client, servername: 'localhost' }), 'platform may-command');
  t.equal(
    await meet(identity, { ca: identity.ca, cert: identity.cert, key: identity.key }),
    'plant7-line2 undefined',
    'the gateway is a client too',
  );
  t.equal(await meet(identity, { ...client, ca: foreign.ca }), 'SELF_SIGNED_CERT_IN_CHAIN');
  t.match(await meet(identity, { ca: client.ca }), /CERTIFICATE_REQUIRED/);
  t.equal(
    await meet(identity, { ca: client.ca, cert: foreign.cert, key: foreign.key }),
    '',
    'cut off before a word was said',
  );
  t.equal(
    await meet(
      { ...identity, ca: client.ca.toString(), cert: client.cert.toString(), key: client.key.toString() },
      client,
    ),
    'INVALID_PURPOSE',
    'a client certificate is no server',
  );
});

t.test(
  'a name that could leave its place, or that is taken, is refused before anything is written',
  async (t) => {
    const root = t.testdir();
    const names = [
      '',
      '.',
      '..',
      '../x',
      'a/b',
      'a b',
      '+',
      '#',
      '-x',
      'x'.repeat(65),
      'é',
      'a\n',
      'ca',
      'CA',
      'upstream',
    ];

    for (const name of [...names, 'plant7-line2', 'Plant7-Line2']) {
      await t.rejects(
        issueCredential(request(root, { name })),
        { code: 'USAGE', message: /name/ },
        JSON.stringify(name),
      );
    }

    t.throws(() => statSync(join(root, 'identity')), { code: 'ENOENT' });
    t.throws(() => statSync(join(root, 'out')), { code: 'ENOENT' });
  },
);

t.test('a life that is none, or longer than that of the CA, is refused', async (t) => {
  const root = t.testdir();

  for (const life of [days(0), days(-1), days(Number.NaN), days(3_654)]) {
    await t.rejects(issueCredential(request(root, { life })), { code: 'USAGE' }, `${life}`);
  }
});

t.test('a key is not replaced unless forced', { skip }, async (t) => {
  const root = t.testdir();
  const first = await issueCredential(request(root));
  const before = [readFileSync(first.key, 'utf8'), readFileSync(first.cert, 'utf8')];

  await t.rejects(issueCredential(request(root, { mayCommand: true })), { code: 'SETUP', remedy: /--force/ });
  t.same([readFileSync(first.key, 'utf8'), readFileSync(first.cert, 'utf8')], before);

  const second = await issueCredential(request(root, { force: true }));
  t.not(readFileSync(second.key, 'utf8'), before[0]);
  t.not(second.serial, first.serial);
  t.equal(openssl(['verify', '-x509_strict', '-CAfile', second.ca, second.cert]).status, 0);
});

t.test(
  'a key that somebody else may have put there is not certified, and no file of others is touched',
  async (t) => {
    const planted = [
      ['link', /it is a link/],
      ['known', /others may read it/],
      ['pipe', /it is no file/],
    ] as const;
    const root = t.testdir({ out: {}, precious: 'not a key\n' });
    const out = join(root, 'out');
    const precious = join(root, 'precious');
    chmodSync(precious, 0o644);
    symlinkSync(precious, join(out, 'link.key'));
    writeFileSync(join(out, 'known.key'), newKeyPem(), { mode: 0o644 });
    spawnSync('mkfifo', ['-m', '600', join(out, 'pipe.key')]);

    for (const [name, says] of planted) {
      await t.rejects(issueCredential(request(root, { name })), { code: 'SETUP', message: says }, name);
      t.notOk(existsSync(join(out, `${name}.pem`)), 'no certificate');
    }
    t.equal(statSync(precious).mode & 0o777, 0o644);
    t.equal(readFileSync(precious, 'utf8'), 'not a key\n');

    const forced = await issueCredential(request(root, { name: 'link', force: true }));
    t.equal(statSync(forced.key).mode & 0o777, 0o600);
    t.equal(readFileSync(precious, 'utf8'), 'not a key\n', 'the link went, not its target');
  },
);

t.test('credentials of another gateway in the same folder are left alone', async (t) => {
  const root = t.testdir();
  const first = await issueCredential(request(root));

  const other = request(root, { folder: join(root, 'other', 'identity'), name: 'hmi' });

  await t.rejects(issueCredential(other), { code: 'SETUP', message: /CA of another gateway/ });
  t.equal(readFileSync(first.ca, 'utf8'), readFileSync(join(root, 'identity', 'ca.pem'), 'utf8'));
});

t.test('a folder that cannot be written is one clear sentence', async (t) => {
  const root = t.testdir({ file: 'in the way' });

  await t.rejects(issueCredential(request(root, { out: join(root, 'file', 'out') })), {
    code: 'SETUP',
    message: /could not make the folder .*file\/out: ENOTDIR/,
    remedy: /--out/,
  });
});
