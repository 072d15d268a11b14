import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { holds } from '../../src/netd/bring.ts';
import { rulesOf } from '../segmentation/policies.ts';
import { long } from '../support/long.ts';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import type { Bed } from './bed.ts';
import { confirmed, waits } from './change.ts';
import { AFTER, BEFORE } from './plants.ts';

// A program nft that is missing, old, killed, hanging or lying, behind a netd that runs: nothing opens, nothing is left
// half done, the sentence says what to do, and netd needs no start of its own when nft is well again.

const skip = noRules() || missingPeer('nsenter', 'util-linux') || missingPeer('flock', 'util-linux');
t.jobs = 3;

/** With a netd whose nft can be changed while it runs. */
async function served(t: Test): Promise<Bed> {
  const bed = await confirmed(t);
  bed.nftIs('exec $NFT "$@"');
  await bed.netd();
  return bed;
}

/** At the next load `what` is done, once; every other call goes through. */
const atLoad = (what: string): string => `
case "$*" in "-j -f -") if rm $HERE/armed 2>/dev/null; then ${what}; fi ;; esac
exec $NFT "$@"
`;
/** At every load. */
const atLoads = (what: string): string => `case "$*" in "-j -f -") ${what} ;; esac\nexec $NFT "$@"\n`;
const arm = (bed: Bed): void => writeFileSync(join(bed.folder, 'armed'), '');

async function nothingChanged(t: Test, bed: Bed): Promise<void> {
  t.ok(await bed.holds(BEFORE), 'the confirmed rules hold');
  t.notOk(waits(bed), 'and no change waits');
}

async function back(t: Test, bed: Bed): Promise<void> {
  t.match(await bed.asked('rollback'), { status: 0 });
  await nothingChanged(t, bed);
}

t.test('nft that is too old', { skip }, async (t) => {
  const bed = await served(t);
  bed.nftIs(
    '[ "$1" != --version ] || { echo "nftables v1.0.5 (Lester Gooch #4)"; exit 0; }\nexec $NFT "$@"\n',
  );

  t.match(await bed.asked('apply'), {
    status: 1,
    stdout: '',
    stderr:
      /nft is 1\.0\.5; nftables 1\.0\.6 or newer is needed \(Debian 12 has it\): apt-get install nftables\n$/,
  });

  await nothingChanged(t, bed);
  bed.nftIs('exec $NFT "$@"');
  t.match(await bed.asked('apply'), { status: 0 }, 'once it is new enough, it works');
});

t.test('nft that is missing', { skip }, async (t) => {
  const bed = await confirmed(t);
  // In a mount namespace of its own a folder can lose its programs for netd alone: first before it starts.
  bed.under('unshare', '-m', 'sh', '-c', 'mount -t tmpfs none /usr/sbin; exec "$@"', 'sh');
  const netd = await bed.netd();
  await netd.says(/cannot tell what this kernel lacks.*there is no program nft/);
  const there = [
    '-t',
    String(netd.pid),
    ...(process.getuid?.() === 0 ? [] : ['-U', '--preserve-credentials']),
    '-m',
  ];

  t.match(await bed.asked('apply'), {
    status: 1,
    stdout: '',
    stderr: /cannot tell its version: there is no program nft; apt-get install nftables\n$/,
  });
  t.match(await bed.asked('rollback'), { status: 1, stderr: /there is no program nft/ });
  t.match(await bed.asked('status'), {
    status: 1,
    stdout: /^what the kernel holds is not known.*\n[^]*there is no program nft; apt-get install nftables\n/,
  });

  await nothingChanged(t, bed);
  t.match(await bed.run('nsenter', ...there, 'umount', '/usr/sbin'), { status: 0 });
  t.match(await bed.asked('apply'), { status: 0 }, 'once it is there, it works');
  const away = await bed.run('nsenter', ...there, 'mount', '-t', 'tmpfs', 'none', '/usr/sbin');
  t.equal(away.status, 0, away.stderr);
  t.match(await bed.asked('confirm', bed.change), { status: 1, stderr: /there is no program nft/ });
  t.ok(waits(bed), 'and it waits on');
  t.ok(await bed.holds(AFTER));
});

t.test('nft that is killed amid its work, sooner and later', { skip }, async (t) => {
  const bed = await served(t);
  for (const after of long === false ? ['0', '0.002', '0.004', '0.008', '0.02', '0.05'] : ['0.004', '0.05']) {
    bed.nftIs(
      atLoad(`$NFT "$@" <&0 & sleep ${after}; kill -9 $!; wait $!
$NFT -j list table inet sluice >$HERE/seen; kill -9 $$`),
    );
    arm(bed);

    const { status, stdout, stderr } = await bed.asked('apply');

    t.equal(status, 0, stderr);
    t.match(stdout, /nft complained, and the kernel was read back: .*nft was killed by SIGKILL/);
    const seen = readFileSync(join(bed.folder, 'seen'), 'utf8');
    const [old, changed] = [BEFORE, AFTER].map((yaml) => holds(seen, rulesOf(yaml)));
    t.ok(
      old !== changed,
      `after ${after} s the kernel held ${changed === true ? 'the new rules' : 'the old rules'}`,
    );
    t.ok(await bed.holds(AFTER));
    await back(t, bed);
  }
});

t.test('nft that is killed each time', { skip }, async (t) => {
  const bed = await served(t);
  bed.nftIs(atLoads('kill -9 $$'));

  t.match(await bed.asked('apply'), {
    status: 1,
    stderr:
      /the kernel does not hold the rules: cannot load rules: nft was killed by SIGKILL; the confirmed rules hold; dmesg and/,
  });

  await nothingChanged(t, bed);
});

t.test('nft that reports failure after it committed', { skip }, async (t) => {
  const bed = await served(t);
  // Each time, so that the roll back meets it too.
  bed.nftIs(atLoads('$NFT "$@"; echo "Error: No buffer space available" >&2; exit 1'));

  const { status, stdout, stderr } = await bed.asked('apply');

  t.equal(status, 0, stderr);
  t.match(stdout, /nft complained, and the kernel was read back: .*No buffer space available/);
  t.ok(await bed.holds(AFTER));
  t.ok(waits(bed), 'it waits to be confirmed like any other');
  await back(t, bed);
});

t.test('nft that reports success and did nothing', { skip }, async (t) => {
  const bed = await served(t);
  bed.nftIs(atLoads('exit 0'));

  t.match(await bed.asked('apply'), {
    status: 1,
    stderr: /the kernel does not hold the rules: nft said nothing; the confirmed rules hold/,
  });

  await nothingChanged(t, bed);
});

t.test('nft that dies while it checks blames no line of the file', { skip }, async (t) => {
  const bed = await served(t);
  bed.nftIs('case "$*" in "-c -j -f -") kill -9 $$ ;; esac\nexec $NFT "$@"\n');

  t.match(await bed.asked('apply'), {
    status: 1,
    stderr: /^(?:through[^\n]*\n)?sluice: cannot check rules: nft was killed by SIGKILL; look at dmesg/,
  });

  await nothingChanged(t, bed);
});

t.test('nft that hangs is ended, and asked again', { skip: skip || long }, async (t) => {
  const bed = await served(t);
  bed.nftIs(atLoad('exec sleep 600'));
  arm(bed);

  const { status, stdout, stderr } = await bed.asked('apply');

  t.equal(status, 0, stderr);
  t.match(stdout, /cannot load rules: nft did not end within 30 s/);
  t.ok(await bed.holds(AFTER));
  await back(t, bed);
});

t.test('nft that hangs each time ends in what was confirmed', { skip: skip || long }, async (t) => {
  const bed = await served(t);
  bed.nftIs(atLoads('exec sleep 600'));

  t.match(await bed.asked('apply'), {
    status: 1,
    stderr: /nft did not end within 30 s; the confirmed rules hold/,
  });

  await nothingChanged(t, bed);
});
