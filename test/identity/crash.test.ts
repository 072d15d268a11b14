import { type ChildProcess, spawn } from 'node:child_process';
import { X509Certificate, createPrivateKey } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { systemClock } from '../../src/core/clock.ts';
import { issueCredential } from '../../src/identity/credential.ts';
import { openIdentity } from '../../src/identity/identity.ts';

const CHILD = fileURLToPath(new URL('child.ts', import.meta.url));
/** As the launcher has it: most of a start is compiling the certificate library. */
const CACHED = {
  NODE_COMPILE_CACHE: fileURLToPath(new URL('../../node_modules/.cache/sluice', import.meta.url)),
};
/** Some forty processes, one after the other: a busy machine takes its time. */
const SWEEP_LIMIT_MS = 110_000;
/** Two cores: more at a time only wait for one another. */
const AT_A_TIME = 3;

interface Ended {
  readonly out: string;
  readonly code: number | null;
  readonly signal: string | null;
}

async function ended(child: ChildProcess): Promise<Ended> {
  let out = '';
  child.stdout?.on('data', (chunk: Buffer) => (out += chunk.toString()));
  await once(child, 'close');
  return { out, code: child.exitCode, signal: child.signalCode };
}

const start = (args: readonly string[]) =>
  ended(
    spawn(process.execPath, [CHILD, ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, ...CACHED },
    }),
  );

/** OpenSSL inside Node; its strict word on these certificates is asked for elsewhere. */
function verifies(ca: string, cert: string): boolean {
  const [issuer, leaf] = [ca, cert].map((file) => new X509Certificate(readFileSync(file)));
  return issuer !== undefined && leaf?.checkIssued(issuer) === true && leaf.verify(issuer.publicKey);
}

function sameKey(cert: string, key: string): boolean {
  return new X509Certificate(readFileSync(cert)).checkPrivateKey(createPrivateKey(readFileSync(key)));
}

t.test(
  'a kill at any call that changes the disk leaves nothing that the next start cannot mend',
  { timeout: SWEEP_LIMIT_MS },
  async (t) => {
    const root = t.testdir();
    let kills = 0;
    let clean = false;

    for (let n = 1; !clean; n += AT_A_TIME) {
      const numbers = Array.from({ length: AT_A_TIME }, (_, i) => n + i);
      const results = await Promise.all(
        numbers.map(async (at) => {
          const [folder, out] = [join(root, `${at}`, 'identity'), join(root, `${at}`, 'out')];
          const { code, signal } = await start([folder, `${at}`, out]);
          if (code === 0) return { at, killed: false };
          t.equal(signal, 'SIGKILL', `call ${at}`);

          const options = { folder, gatewayId: 'plant7-line2', clock: systemClock };
          await openIdentity({ ...options, addresses: ['127.0.0.1'] });
          const present = readdirSyncIfThere(out);
          const force = present.includes('platform.pem');
          const { cert, key } = await issueCredential({
            ...options,
            name: 'platform',
            mayCommand: false,
            out,
            force,
          });

          const ca = join(folder, 'ca.pem');
          t.ok(verifies(ca, join(folder, 'gateway.pem')), `gateway.pem after a kill at call ${at}`);
          t.ok(sameKey(join(folder, 'gateway.pem'), join(folder, 'gateway.key')), `gateway.key, call ${at}`);
          t.ok(verifies(ca, cert), `platform.pem after a kill at call ${at}`);
          t.ok(sameKey(cert, key), `platform.key after a kill at call ${at}`);
          t.ok(everyLineButATornOneIsJson(join(folder, 'issued.jsonl')), `issued.jsonl, call ${at}`);
          return { at, killed: true };
        }),
      );
      kills += results.filter(({ killed }) => killed).length;
      clean = results.some(({ killed }) => !killed);
    }

    t.ok(kills > 20, `${kills} kills`);
  },
);

function readdirSyncIfThere(folder: string): string[] {
  mkdirSync(folder, { recursive: true });
  return readdirSync(folder);
}

/** At most one line, the one that the kill tore, is no JSON. */
function everyLineButATornOneIsJson(file: string): boolean {
  const bad = readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .filter((line) => {
      try {
        JSON.parse(line);
        return false;
      } catch {
        return true;
      }
    });
  return bad.length <= 1;
}

t.test('processes that make the CA at the same moment end with one', async (t) => {
  const root = t.testdir();
  const folder = join(root, 'identity');

  const all = await Promise.all(
    Array.from({ length: 6 }, (_, i) => start([folder, '0', i % 2 === 0 ? join(root, `out-${i}`) : ''])),
  );

  const authorities = new Set(all.map(({ out }) => out));
  t.same(
    all.map(({ code }) => code),
    [0, 0, 0, 0, 0, 0],
  );
  t.equal(authorities.size, 1);
  t.ok(authorities.has(readFileSync(join(folder, 'ca.pem'), 'utf8')));
  t.ok(verifies(join(folder, 'ca.pem'), join(folder, 'gateway.pem')));
  for (const i of [0, 2, 4]) {
    t.ok(verifies(join(folder, 'ca.pem'), join(root, `out-${i}`, 'platform.pem')), `out-${i}`);
  }
  t.same(
    readdirSync(folder).filter((name) => name.endsWith('.draft')),
    [],
  );
});

t.test('a line after a torn one is whole', async (t) => {
  const root = t.testdir();
  const folder = join(root, 'identity');
  const options = { folder, gatewayId: 'plant7-line2', clock: systemClock };
  await openIdentity({ ...options, addresses: ['127.0.0.1'] });
  const list = join(folder, 'issued.jsonl');
  writeFileSync(list, `${readFileSync(list, 'utf8')}{"serial":"4`);

  const { serial } = await issueCredential({
    ...options,
    name: 'platform',
    mayCommand: true,
    out: join(root, 'out'),
  });

  const last: unknown = JSON.parse(readFileSync(list, 'utf8').trimEnd().split('\n').at(-1) ?? '');
  t.match(last, { serial, name: 'platform', rights: ['read', 'command'] });
});
