import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { long } from '../support/long.ts';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { until } from '../support/wait.ts';
import type { Bed } from './bed.ts';
import { confirmed, rolledBack, waits } from './change.ts';
import { AFTER, BEFORE } from './plants.ts';

// Processes that are killed at each stage of a change, and an nft that fails, dies or lies: all of it ends in the rules
// that were confirmed last, or in the new ones, and never in between.

const skip = noRules() || missingPeer('nsenter', 'util-linux') || missingPeer('flock', 'util-linux');
t.jobs = 8;

/** Once, at the call number `at`: `what` is done; every other call goes through. */
const once = (at: number, what: string): string => `
n=$(( $(cat $HERE/calls 2>/dev/null || echo 0) + 1 )); echo $n > $HERE/calls
if [ $n = ${at} ]; then ${what}; fi
exec $NFT "$@"
`;
const KILL_BEFORE = 'kill -9 $PPID; exit 1';
const KILL_AFTER = '$NFT "$@"; kill -9 $PPID; exit 1';
/** Each table is listed by a call of its own. */
const LOOK = ['the listing', 'the listing of the ports'];
const LOOK_AGAIN = ['the reading back', 'the reading back of the ports'];
/** The calls of an apply, in their order, which has a new map of intervals, and of the roll back that follows. */
const ROLL_BACK = [...LOOK, 'the load', ...LOOK_AGAIN];
const CALLS = [
  'its version',
  'the check',
  ...LOOK,
  'the load of what nothing refers to yet',
  ...LOOK.map((look) => `${look} after it`),
  'the load',
  ...LOOK_AGAIN,
];
const LOAD = CALLS.indexOf('the load');
/** The one in the middle of a change always; the others where there is time. */
const often = (call: string): string | false => call !== 'the load' && long;

for (const [i, call] of CALLS.entries()) {
  t.test(`whoever applies is killed after ${call}`, { skip: skip || often(call) }, async (t) => {
    const bed = await confirmed(t);
    bed.nftIs(once(i + 1, KILL_AFTER));

    const { status, stdout } = await bed.firewall('apply');

    t.equal(status, null, 'it was killed');
    t.equal(stdout, '');
    t.equal(await bed.holds(AFTER), i >= LOAD);
    await rolledBack(t, bed);
  });
}

t.test('whoever applies is killed while nft has not begun', { skip }, async (t) => {
  const bed = await confirmed(t);
  bed.nftIs(once(LOAD + 1, KILL_BEFORE));

  t.equal((await bed.firewall('apply')).status, null);

  await rolledBack(t, bed);
});

for (const [i, call] of ROLL_BACK.entries()) {
  t.test(`who rolls back is killed after ${call}`, { skip: skip || often(call) }, async (t) => {
    const bed = await confirmed(t);
    bed.nftIs(once(CALLS.length + 1 + i, KILL_AFTER));

    t.equal((await bed.firewall('apply')).status, 0);

    await rolledBack(t, bed);
    t.ok(Number(readFileSync(join(bed.folder, 'calls'), 'utf8')) > CALLS.length + i, 'the kill took place');
  });
}

t.test('a guard that is killed is started again by the other', { skip }, async (t) => {
  const bed = await confirmed(t);
  t.equal((await bed.firewall('apply')).status, 0);
  const one = bed.guard(1);

  bed.kill(1);
  await until('another one', () => (bed.guard(1) ?? one) !== one);
  bed.kill(2);

  await rolledBack(t, bed);
});

t.test('where all guards are killed, the next command takes an overdue change back', { skip }, async (t) => {
  const bed = await confirmed(t);
  t.equal((await bed.firewall('apply')).status, 0);
  const id = bed.change;
  bed.killGuards();
  bed.expire();
  t.match(await bed.firewall('status'), { stdout: /in 0 s .* nobody is left/ });
  t.ok(await bed.holds(AFTER), 'nobody took it back');

  t.match(await bed.firewall('confirm', id), {
    status: 1,
    stderr: /it is too late; the confirmed rules hold/,
  });

  await rolledBack(t, bed);
});

t.test('nft that fails after it committed has applied', { skip }, async (t) => {
  const bed = await confirmed(t);
  bed.nftIs(once(LOAD + 1, '$NFT "$@"; echo "No buffer space available" >&2; exit 1'));

  const { status, stdout, stderr } = await bed.firewall('apply');

  t.equal(status, 0, stderr);
  t.match(stdout, /nft complained, and the kernel was read back: .*No buffer space available/);
  t.ok(await bed.holds(AFTER));
  t.equal((await bed.firewall('confirm', bed.change)).status, 0);
});

t.test('nft that dies by a signal, before or after it committed, is asked again', { skip }, async (t) => {
  for (const death of ['kill -SEGV $$', '$NFT "$@"; kill -SEGV $$']) {
    const bed = await confirmed(t);
    bed.nftIs(once(LOAD + 1, death));

    const { status, stdout, stderr } = await bed.firewall('apply');

    t.equal(status, 0, stderr);
    t.match(stdout, /nft was killed by SIGSEGV/);
    t.ok(await bed.holds(AFTER));
  }
});

t.test('nft that cannot load at all leaves what was confirmed, and says so', { skip }, async (t) => {
  const bed = await confirmed(t);
  bed.nftIs('case "$*" in "-j -f -") kill -SEGV $$ ;; esac\nexec $NFT "$@"\n');

  const { status, stderr } = await bed.firewall('apply');

  t.equal(status, 1);
  t.match(stderr, /nft was killed by SIGSEGV; the confirmed rules hold/);
  t.ok(await bed.holds(BEFORE));
  t.notOk(waits(bed));
});

t.test('nft that fails during the roll back is tried until it does not', { skip }, async (t) => {
  const bed = await confirmed(t);
  bed.nftIs('case "$*" in "-j -f -") [ ! -f $HERE/broken ] || exit 1 ;; esac\nexec $NFT "$@"\n');
  t.equal((await bed.firewall('apply')).status, 0);

  writeFileSync(join(bed.folder, 'broken'), '');
  bed.expire();
  await until('a roll back that failed', () => /cannot roll back/.test(logOf(bed)));
  t.ok(waits(bed));
  t.ok(await bed.holds(AFTER));
  await bed.run('rm', join(bed.folder, 'broken'));

  await rolledBack(t, bed);
});

function logOf(bed: Bed): string {
  const file = join(bed.state, 'rollback.log');
  return existsSync(file) ? readFileSync(file, 'utf8') : '';
}
