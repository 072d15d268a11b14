import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { until } from '../support/wait.ts';
import { Bed } from './bed.ts';
import { confirmed, waits } from './change.ts';
import { BEFORE } from './plants.ts';

// A kernel that really says no. It takes no more than 1,024 chains at one hook (MAX_HOOK_COUNT), whoever made them, so
// that other programs can leave it no room for ours; and a table that a living program owns it changes for nobody else.

const skip = noRules() || missingPeer('nsenter', 'util-linux') || missingPeer('flock', 'util-linux');
t.jobs = 3;
const PATIENCE = 120_000;
const MOST_CHAINS = 1_024;

/** BEFORE with a conduit that is guarded: its connections are led to the gateway by a chain that nothing else needs. */
const GUARDED = `${BEFORE}  - from: supervision
    to: metering
    allow: [modbus-tcp/read]
    because: "energy"
classes:
  meter: { zone: metering, protocol: modbus, points: { power: { at: "input:0:uint16" } } }
devices:
  meter-1: { class: meter, at: "modbus-tcp://10.20.20.11" }
`;
const LINE = GUARDED.split('\n').findIndex((line) => line.includes('- from: supervision')) + 1;

/** Another program's chains, as many as the hook takes. */
async function crowd(bed: Bed, base: string, family = 'inet'): Promise<void> {
  const script = `{ echo 'add table ${family} crowd'
for i in $(seq 1 ${MOST_CHAINS}); do echo "add chain ${family} crowd c$i { ${base}; }"; done; } | nft -f -`;
  const { status, stderr } = await bed.run('sh', '-c', script);
  if (status !== 0) throw new Error(stderr);
}

const uncrowd = async (bed: Bed): Promise<unknown> => bed.run('nft', 'delete', 'table', 'inet', 'crowd');

t.test('a guarded conduit that the kernel has no room for is named by its line', { skip }, async (t) => {
  const bed = await confirmed(t);
  bed.declare(GUARDED);
  await bed.netd();
  await crowd(bed, 'type nat hook prerouting priority 0');

  t.match(await bed.asked('apply'), {
    status: 1,
    stdout: '',
    stderr: new RegExp(
      `gateway\\.yaml:${LINE}:5: conduits\\[2\\]: the kernel refuses the rules that were made of it: cannot check rules: nft: .*Argument list too long; nothing was changed`,
    ),
  });

  t.ok(await bed.holds(BEFORE), 'the confirmed rules hold');
  t.notOk(waits(bed));
  await uncrowd(bed);
  t.match(await bed.asked('apply'), { status: 0 }, 'with room it is applied');
  t.ok(await bed.holds(GUARDED));
});

t.test('room that is taken between check and load', { skip }, async (t) => {
  const bed = await confirmed(t);
  bed.declare(GUARDED);
  const fill = `for i in $(seq 1 ${MOST_CHAINS}); do echo "add chain inet crowd c$i { type nat hook prerouting priority 0; }"; done`;
  bed.nftIs(`case "$*" in "-j -f -") [ -f $HERE/full ] || {
  { echo 'add table inet crowd'; ${fill}; } | $NFT -f - <&0 && : > $HERE/full; } ;; esac
exec $NFT "$@"
`);
  await bed.netd();

  t.match(await bed.asked('apply'), {
    status: 1,
    stderr:
      /the kernel does not hold the rules: cannot load rules: nft: .*Argument list too long; the confirmed rules hold/,
  });

  t.ok(existsSync(join(bed.folder, 'full')), 'the check had been passed');
  t.ok(await bed.holds(BEFORE), 'all of the transaction is gone');
  t.notOk(waits(bed));
});

t.test('a bridge that the kernel has no room for is named by the line of its ports', { skip }, async (t) => {
  const bed = await confirmed(t);
  const ported = BEFORE.replace('10.20.10.0/24 }', '10.20.10.0/24, address: 10.20.10.1/24, ports: [lan1] }');
  bed.declare(ported);
  await bed.netd();
  await crowd(bed, 'type filter hook prerouting priority 0', 'bridge');

  const line = ported.split('\n').findIndex((one) => one.includes('ports: [lan1]')) + 1;
  t.match(await bed.asked('apply'), {
    status: 1,
    stdout: '',
    stderr: new RegExp(
      `gateway\\.yaml:${line}:\\d+: zones\\.control\\.ports\\[0\\]: the kernel refuses the rules that were made of it: .*Argument list too long`,
    ),
  });
  t.ok(await bed.holds(BEFORE), 'the confirmed rules hold');
  t.notOk(waits(bed));
});

t.test(
  'what is made for nobody in particular blames nobody, and the first rules leave nothing',
  { skip },
  async (t) => {
    const bed = await Bed.make(t);
    bed.declare(BEFORE);
    await bed.netd();
    await crowd(bed, 'type filter hook forward priority 0');

    const { status, stderr } = await bed.asked('apply');

    t.equal(status, 1);
    t.match(stderr, /sluice: cannot check rules: nft: .*Argument list too long/);
    t.notMatch(stderr, /gateway\.yaml:\d/);
    t.equal(await bed.listing(), undefined, 'no table of ours is there');
    t.notOk(waits(bed));
  },
);

t.test('a table that another program holds for itself', { skip }, async (t) => {
  const bed = await confirmed(t);
  const forwarding = async (): Promise<string> =>
    (await bed.run('cat', '/proc/sys/net/ipv4/ip_forward')).stdout.trim();
  await bed.run('sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward');
  const taken = join(bed.folder, 'taken');
  const holder = bed.spawn(
    'sh',
    '-c',
    `mkfifo ${taken}; exec 3<>${taken}
echo 'delete table inet sluice; add table inet sluice { flags owner; }' >&3; exec nft -i <${taken}`,
  );
  t.teardown(() => holder.kill('SIGKILL'));
  await until('the table of the other', async () =>
    /flags owner/.test((await bed.run('nft', 'list', 'table', 'inet', 'sluice')).stdout),
  );
  // Also a netd that starts only now.
  const netd = await bed.netd();
  const held =
    /table inet sluice is held by another program, nft, which alone may change it \(flags owner\); end that program/;

  t.match(await bed.asked('apply'), { status: 1, stdout: '', stderr: held });
  t.notOk(waits(bed));
  t.match(await bed.asked('rollback'), { status: 1, stderr: /flags owner/ });
  t.match(await bed.asked('status'), { status: 1, stdout: held });
  await netd.says(/forwarding between interfaces is stopped/, PATIENCE);
  t.equal(await forwarding(), '0', 'what cannot be put right does not stay open');

  holder.kill('SIGKILL');
  await until('the rules, without anybody', async () => bed.holds(BEFORE), PATIENCE);
  await until('forwarding', async () => (await forwarding()) === '1', PATIENCE);
  const calm = await bed.asked('status');
  t.comment(calm.stdout + calm.stderr);
  t.notMatch(calm.stdout, /switched off|given up/);
  t.match(
    readFileSync(join(bed.state, 'drift.json'), 'utf8'),
    /held by another program/,
    'who it was stands in the book',
  );
});
