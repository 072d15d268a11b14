import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { long } from '../support/long.ts';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { until } from '../support/wait.ts';
import { Bed } from './bed.ts';
import { confirmed, rolledBack, waits } from './change.ts';
import { AFTER, BEFORE } from './plants.ts';

// Applied, confirmed or rolled back, each in a network namespace of its own. What the kernel lists decides, never what a
// command said.

const skip = noRules() || missingPeer('nsenter', 'util-linux') || missingPeer('flock', 'util-linux');
t.jobs = 8;

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
  t.match(
    readFileSync(join(bed.state, 'audit.jsonl'), 'utf8'),
    new RegExp(
      `"via":"guard","verb":"rollback","outcome":"done","change":"${id}","detail":"nobody confirmed"`,
    ),
  );
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

t.test(
  'a person rolls the first change back: then there are no rules, and it is not said that some hold',
  {
    skip,
  },
  async (t) => {
    const bed = await Bed.make(t);
    bed.declare(BEFORE);
    t.equal((await bed.firewall('apply')).status, 0);

    t.match(await bed.firewall('rollback'), {
      status: 0,
      stdout: /^no rules were ever confirmed: none are loaded; change [0-9a-f]{8} is taken back/,
    });
    t.equal(await bed.listing(), undefined);
  },
);

t.test('a person rolls back at once', { skip }, async (t) => {
  const bed = await confirmed(t);
  t.equal((await bed.firewall('apply')).status, 0);

  t.match(await bed.firewall('rollback'), {
    status: 0,
    stdout: /^the rules that were confirmed last hold; change [0-9a-f]{8} is taken back/,
  });

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

t.test(
  'a foreign flush that nobody notices is undone by the roll back',
  { skip: skip || long },
  async (t) => {
    const bed = await confirmed(t);
    t.equal((await bed.firewall('apply')).status, 0);
    t.equal((await bed.run('nft', 'flush', 'ruleset')).status, 0);

    await rolledBack(t, bed);
  },
);

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

t.test('a change of another start of the machine is overdue', { skip: skip || long }, async (t) => {
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

t.test('two at a time: one is told to wait, and nothing is mixed', { skip: skip || long }, async (t) => {
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

t.test('damaged files are never taken for "nothing was confirmed"', { skip: skip || long }, async (t) => {
  const bed = await confirmed(t);
  writeFileSync(join(bed.state, 'confirmed.json'), '{"nftab');

  t.match(await bed.firewall('status'), {
    status: 1,
    stdout: /damaged: confirmed\.json is damaged; boot\.json/,
  });
  t.match(await bed.firewall('apply'), { status: 0, stdout: /taken back to the ones confirmed before/ });
  t.match(await bed.firewall('rollback'), { status: 0, stdout: /^the rules that were confirmed last hold/ });

  t.ok(await bed.holds(BEFORE), 'by what a start of the machine would load');
});

t.test('a damaged pending.json is no confirmation', { skip: skip || long }, async (t) => {
  const bed = await confirmed(t);
  t.equal((await bed.applyWithin(5_000)).status, 0);
  writeFileSync(join(bed.state, 'pending.json'), '');

  await until('the roll back', () => !waits(bed));
  t.ok(await bed.holds(BEFORE));
});

t.test('a folder that others may write to is refused', { skip: skip || long }, async (t) => {
  const bed = await confirmed(t);
  await bed.run('chmod', '777', bed.state);

  t.match(await bed.firewall('apply'), { status: 1, stderr: /can be written by others.*chmod 700/ });
});
