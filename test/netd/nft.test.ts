import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { milliseconds } from '../../src/core/units.ts';
import { Nft } from '../../src/netd/nft.ts';
import { probe } from '../../src/netd/probe.ts';
import { inNamespace, noRules } from '../support/namespace.ts';
import { REPOSITORY } from '../support/process.ts';

// What can be wrong with the program nft, each told with what to do.

/** An nft that is this shell script. */
function nftOf(t: Test, script: string, limit?: number): Nft {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-nft-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const program = join(folder, 'nft');
  writeFileSync(program, `#!/bin/sh\n${script}\n`);
  chmodSync(program, 0o755);
  return new Nft({ program, ...(limit !== undefined && { limit: milliseconds(limit) }) });
}

t.test('a missing program', async (t) => {
  const nft = new Nft({ program: 'no-such-nft' });

  await t.rejects(nft.version(), {
    code: 'SETUP',
    message: 'cannot tell its version: there is no program nft',
    remedy: 'apt-get install nftables',
  });
});

t.test('an old one, and one that is just old enough', async (t) => {
  for (const version of ['0.9.8', '1.0.5', '1.0']) {
    await t.rejects(nftOf(t, `echo "nftables v${version} (E.D.S.)"`).version(), {
      message: `nft is ${version}`,
      remedy: /1\.0\.6 or newer/,
    });
  }
  for (const version of ['1.0.6', '1.0.10', '1.1', '2.0.1']) {
    t.equal(await nftOf(t, `echo "nftables v${version} (E.D.S.)"`).version(), version);
  }
});

t.test('one that hangs is ended', async (t) => {
  const nft = nftOf(t, 'exec sleep 60', 200);

  await t.rejects(nft.list(), { message: 'cannot list table inet sluice: nft did not end within 0.2 s' });
});

t.test('one that hangs in what it started is ended with that', async (t) => {
  const nft = nftOf(t, 'sleep 60 & wait', 200);

  await t.rejects(nft.list(), { message: 'cannot list table inet sluice: nft did not end within 0.2 s' });
});

t.test('one that dies, one that may not, one that refuses', async (t) => {
  t.match(await nftOf(t, 'kill -SEGV $$').load('{}'), {
    message: 'cannot load rules: nft was killed by SIGSEGV',
    remedy: /a newer nft in a container/,
  });
  t.match(await nftOf(t, 'echo "Operation not permitted (you must be root)" >&2; exit 1').load('{}'), {
    message: 'cannot load rules: nft is not permitted',
    remedy: 'run this as root, or with CAP_NET_ADMIN',
  });
  await t.rejects(nftOf(t, 'echo "Error: Could not process rule: File exists" >&2; exit 1').check('{}'), {
    message: 'cannot check rules: nft: Error: Could not process rule: File exists',
  });
  t.equal(
    await nftOf(t, 'echo "Error: No such file or directory" >&2; exit 1').list(),
    undefined,
    'no table',
  );
});

t.test('it gets the document as a file that it can open by name, and speaks English', async (t) => {
  const nft = nftOf(t, '[ "$LC_ALL" = C ] && [ "$(cat /dev/stdin)" = "{}" ] && [ "$*" = "-j -f -" ]');

  t.equal(await nft.load('{}'), undefined);
});

t.test('a kernel that lacks something is told what follows', async (t) => {
  const nft = nftOf(
    t,
    `case "$*" in *list*) echo "Error: No such file or directory" >&2; exit 1 ;; esac
case "$(cat)" in *'"interval"'*|*'"bridge"'*) echo "Error: Could not process rule: Not supported" >&2; exit 1 ;; esac`,
  );

  t.match(await probe(nft), [
    { name: 'verdict maps of subnets and port ranges', needed: true, follows: /no rules can be loaded/ },
    { name: 'tables of a bridge', needed: false, follows: /nothing guards the ports of a bridge/ },
  ]);
});

t.test('the probe finds nothing lacking here, and leaves nothing behind', { skip: noRules() }, async (t) => {
  const program = `import { Nft } from '${REPOSITORY}src/netd/nft.ts'; import { probe } from '${REPOSITORY}src/netd/probe.ts';
console.log(JSON.stringify((await probe(new Nft())).filter(({ needed }) => needed)));`;
  const folder = mkdtempSync(join(tmpdir(), 'sluice-probe-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'probe.ts'), program);

  const ran = inNamespace('"$1" "$2"; nft list tables', process.execPath, join(folder, 'probe.ts'));

  t.equal(ran.stdout, '[]\n', ran.stderr);
});

t.test(
  'who may not change rules is told to become root, and leaves no files behind',
  { skip: noRules() },
  async (t) => {
    const folder = t.testdir({
      'gateway.yaml':
        'gateway: { id: plant }\nzones: { control: { vlan: 10, subnet: 10.0.0.0/24 } }\nsegmentation: { mode: observe }\n',
      data: {},
    });
    const main = join(REPOSITORY, 'src/main.ts');
    const ran = inNamespace(
      'cd "$1"; unset NODE_OPTIONS; setpriv --bounding-set=-all --inh-caps=-all "$2" "$3" firewall apply 2>&1 || echo "ends with $?"; ls data',
      folder,
      process.execPath,
      main,
    );

    t.match(
      ran.stdout,
      /sluice: cannot [^:]+: nft is not permitted; run this as root, or with CAP_NET_ADMIN\nends with 1\n$/,
    );
  },
);
