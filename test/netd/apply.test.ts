import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { until } from '../support/wait.ts';
import { Bed } from './bed.ts';
import { AFTER, BEFORE } from './plants.ts';

// Applied, confirmed or rolled back, with processes killed and an nft that fails, each in a network namespace of its
// own. What the kernel lists decides, never what a command said.

const skip = noRules() || missingPeer('nsenter', 'util-linux') || missingPeer('flock', 'util-linux');
t.jobs = 4;

/** One that holds BEFORE, confirmed, and has AFTER in gateway.yaml. */
async function confirmed(t: Test): Promise<Bed> {
  const bed = await Bed.make(t);
  await bed.confirmed(BEFORE);
  t.ok(await bed.holds(BEFORE), 'what was confirmed holds');
  bed.declare(AFTER);
  return bed;
}

const waits = (bed: Bed): boolean => existsSync(join(bed.state, 'pending.json'));

async function rolledBack(t: Test, bed: Bed): Promise<void> {
  if (waits(bed)) bed.expire();
  await until('the roll back', () => !waits(bed));
  t.ok(await bed.holds(BEFORE), 'the kernel holds what was confirmed');
  t.notOk(await bed.holds(AFTER));
}

t.test('a change is applied, shown, confirmed, and then it stays', { skip }, async (t) => {
  const bed = await confirmed(t);

  const applied = await bed.firewall('apply');

  t.equal(applied.status, 0, applied.stderr);
  t.match(applied.stdout, /^applied and proven: change [0-9a-f]{8}\n {2}\d+ chains written, /);
  t.match(applied.stdout, /taken back to the ones confirmed before/);
  t.ok(await bed.holds(AFTER));
  const [one, two] = [bed.guard(1), bed.guard(2)];
  t.ok(one !== undefined && two !== undefined && one !== two, 'two processes would roll back');
  t.match(await bed.firewall('status'), {
    status: 1,
    stdout: /rolled back in \d+ s unless it is confirmed, by 2 processes/,
  });
  t.match(await bed.firewall('apply'), { status: 1, stderr: /change [0-9a-f]{8} waits to be confirmed/ });
  t.match(await bed.firewall('confirm', '00000000'), {
    status: 1,
    stderr: /it is not change 00000000 that waits/,
  });
  t.match(await bed.firewall('confirm', bed.change), { status: 0, stdout: /^confirmed: change / });
  await until('the end of both', () => bed.guard(1) === undefined && bed.guard(2) === undefined);
  t.ok(await bed.holds(AFTER));
  t.match(await bed.firewall('status', '--json'), {
    status: 0,
    stdout: /"kernel":"confirmed","proven":true/,
  });
  t.match(await bed.firewall('confirm', '00000000'), { status: 1, stderr: /no change waits/ });
  t.match(await bed.firewall('apply'), {
    status: 0,
    stdout: /confirmed already, and hold, proven\n {2}nothing differed/,
  });
  // Exactly what nft takes, for whoever loads it when the machine starts.
  t.equal((await bed.run('nft', '-c', '-j', '-f', join(bed.state, 'confirmed.json'))).status, 0);
});

t.test('what nobody confirms is rolled back, and a late confirmation says so', { skip }, async (t) => {
  const bed = await confirmed(t);

  const applied = await bed.applyWithin(1_000);
  t.equal(applied.status, 0, applied.stderr);
  const [, id = ''] = /"id":"([0-9a-f]+)"/.exec(applied.stdout) ?? [];

  await until('the roll back', () => !waits(bed));
  t.ok(await bed.holds(BEFORE));
  t.match(readFileSync(join(bed.state, 'rollback.log'), 'utf8'), /rolled back: nobody confirmed/);
  t.match(await bed.firewall('confirm', id), { status: 1, stderr: /no change waits to be confirmed/ });
});

t.test('the very first rules are taken away where nobody confirms them', { skip }, async (t) => {
  const bed = await Bed.make(t);
  bed.declare(BEFORE);

  t.match(await bed.firewall('apply', '--json'), { status: 0, stdout: /"first":true/ });
  t.ok(await bed.holds(BEFORE));
  bed.expire();

  await until('the roll back', () => !waits(bed));
  t.equal(await bed.listing(), undefined);
});

t.test('a person rolls back at once', { skip }, async (t) => {
  const bed = await confirmed(t);
  t.equal((await bed.firewall('apply')).status, 0);

  t.match(await bed.firewall('rollback'), { status: 0, stdout: /change [0-9a-f]{8} is taken back/ });

  t.ok(await bed.holds(BEFORE));
  t.notOk(waits(bed));
});

t.test('a foreign flush before the confirmation leads back to what was confirmed', { skip }, async (t) => {
  for (const flush of [
    ['flush', 'ruleset'],
    ['flush', 'table', 'inet', 'sluice'],
    ['insert', 'rule', 'inet', 'sluice', 'g_forward', 'accept'],
  ]) {
    const bed = await confirmed(t);
    t.equal((await bed.firewall('apply')).status, 0);
    t.equal((await bed.run('nft', ...flush)).status, 0);

    const confirmation = await bed.firewall('confirm', bed.change);

    t.equal(confirmation.status, 1);
    t.match(confirmation.stderr, /somebody (took the table away|changed the table)/);
    t.match(confirmation.stderr, /the confirmed rules hold/);
    t.ok(await bed.holds(BEFORE));
    t.notOk(waits(bed));
  }
});

t.test('a foreign flush that nobody notices is undone by the roll back', { skip }, async (t) => {
  const bed = await confirmed(t);
  t.equal((await bed.firewall('apply')).status, 0);
  t.equal((await bed.run('nft', 'flush', 'ruleset')).status, 0);

  await rolledBack(t, bed);
});

/** Once, at the call number `at`: `what` is done; every other call goes through. */
const once = (at: number, what: string): string => `
n=$(( $(cat $HERE/calls 2>/dev/null || echo 0) + 1 )); echo $n > $HERE/calls
if [ $n = ${at} ]; then ${what}; fi
exec $NFT "$@"
`;
const KILL_BEFORE = 'kill -9 $PPID; exit 1';
const KILL_AFTER = '$NFT "$@"; kill -9 $PPID; exit 1';
/** The calls of an apply, in their order, and of the roll back that follows. */
const CALLS = ['its version', 'the check', 'the listing', 'the load', 'the reading back'];
const ROLL_BACK = ['the listing', 'the load', 'the reading back'];

for (const [i, call] of CALLS.entries()) {
  t.test(`whoever applies is killed after ${call}`, { skip }, async (t) => {
    const bed = await confirmed(t);
    bed.nftIs(once(i + 1, KILL_AFTER));

    const { status, stdout } = await bed.firewall('apply');

    t.equal(status, null, 'it was killed');
    t.equal(stdout, '');
    t.equal(await bed.holds(AFTER), i >= 3);
    await rolledBack(t, bed);
  });
}

t.test('whoever applies is killed while nft has not begun', { skip }, async (t) => {
  const bed = await confirmed(t);
  bed.nftIs(once(4, KILL_BEFORE));

  t.equal((await bed.firewall('apply')).status, null);

  await rolledBack(t, bed);
});

for (const [i, call] of ROLL_BACK.entries()) {
  t.test(`who rolls back is killed after ${call}`, { skip }, async (t) => {
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
  bed.nftIs(once(4, '$NFT "$@"; echo "No buffer space available" >&2; exit 1'));

  const { status, stdout, stderr } = await bed.firewall('apply');

  t.equal(status, 0, stderr);
  t.match(stdout, /nft complained, and the kernel was read back: .*No buffer space available/);
  t.ok(await bed.holds(AFTER));
  t.equal((await bed.firewall('confirm', bed.change)).status, 0);
});

t.test('nft that dies by a signal, before or after it committed, is asked again', { skip }, async (t) => {
  for (const death of ['kill -SEGV $$', '$NFT "$@"; kill -SEGV $$']) {
    const bed = await confirmed(t);
    bed.nftIs(once(4, death));

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

t.test('a clock that is set forward or back changes nothing', { skip }, async (t) => {
  for (const years of [-3, 3]) {
    const bed = await confirmed(t);
    // Every look at the clock of the wall sees another year, in whoever applies and in the guards.
    const jump = `let n=0;const now=Date.now;Date.now=()=>now()+${years}*(++n)*31536e6;`;
    bed.set('NODE_OPTIONS', `--import=data:text/javascript,${encodeURIComponent(jump)}`);
    t.equal((await bed.firewall('apply')).status, 0);

    const { stdout } = await bed.firewall('status', '--json');
    const [, left = ''] = /"left-ms":(\d+)/.exec(stdout) ?? [];
    t.ok(Number(left) > 300_000 && Number(left) <= 600_000, `${left} ms are left`);
    t.match(stdout, /"guards":2/);

    await rolledBack(t, bed);
  }
});

t.test('a change of another start of the machine is overdue', { skip }, async (t) => {
  const bed = await confirmed(t);
  t.equal((await bed.firewall('apply')).status, 0);
  bed.killGuards();
  const file = join(bed.state, 'pending.json');
  writeFileSync(file, readFileSync(file, 'utf8').replace(/"boot": "[^"]*"/, '"boot": "another"'));

  t.match(await bed.firewall('confirm', bed.change), {
    status: 1,
    stderr: /too late; the confirmed rules hold/,
  });

  t.ok(await bed.holds(BEFORE));
});

t.test('two at a time: one is told to wait, and nothing is mixed', { skip }, async (t) => {
  const bed = await confirmed(t);
  const both = await bed.run(
    'sh',
    '-c',
    `"$0" "$1" firewall apply & a=$!; "$0" "$1" firewall apply & b=$!; wait $a; x=$?; wait $b; echo ends $(($x + $?))`,
    process.execPath,
    join(process.cwd(), 'src/main.ts'),
  );

  t.match(both.stdout, /ends 1/);
  t.match(both.stderr, /waits to be confirmed/);
  t.ok(await bed.holds(AFTER));
});

t.test('damaged files are never taken for "nothing was confirmed"', { skip }, async (t) => {
  const bed = await confirmed(t);
  writeFileSync(join(bed.state, 'confirmed.json'), '{"nftab');

  t.match(await bed.firewall('apply'), {
    status: 1,
    stderr: /confirmed\.json is damaged: it holds no rules; put it back/,
  });
  t.match(await bed.firewall('rollback'), { status: 1, stderr: /confirmed\.json is damaged/ });

  t.ok(await bed.holds(BEFORE), 'the network is as it was');
});

t.test('a damaged pending.json is no confirmation', { skip }, async (t) => {
  const bed = await confirmed(t);
  t.equal((await bed.applyWithin(5_000)).status, 0);
  writeFileSync(join(bed.state, 'pending.json'), '');

  await until('the roll back', () => !waits(bed));
  t.ok(await bed.holds(BEFORE));
});

t.test('a folder that others may write to is refused', { skip }, async (t) => {
  const bed = await confirmed(t);
  await bed.run('chmod', '777', bed.state);

  t.match(await bed.firewall('apply'), { status: 1, stderr: /can be written by others.*chmod 700/ });
});
