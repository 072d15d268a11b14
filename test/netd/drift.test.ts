import { copyFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { long } from '../support/long.ts';
import { DriftBook, type DriftEvent } from '../../src/netd/drift-book.ts';
import { MOST_HEALS } from '../../src/netd/drift.ts';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import type { Running } from '../support/process.ts';
import { until } from '../support/wait.ts';
import type { Bed } from './bed.ts';
import { confirmed } from './change.ts';
import { AFTER, BEFORE } from './plants.ts';
import { Speaker } from './said.ts';

// Other programs at our tables: found, told, put right.

const skip = noRules() || missingPeer('nsenter', 'util-linux') || missingPeer('flock', 'util-linux');
/** Six others may be at the same two processors. */
const PATIENCE = 120_000;
t.jobs = 2;

interface Watched {
  readonly bed: Bed;
  readonly netd: Running;
}

async function watched(t: Test, yaml = BEFORE): Promise<Watched> {
  const bed = await confirmed(t);
  bed.knows(BEFORE);
  bed.declare(yaml);
  const netd = await bed.netd();
  await until('nft monitor', () => monitorOf(netd), PATIENCE);
  return { bed, netd };
}

/** Process of the nft monitor of netd, once the kernel tells it of events. */
function monitorOf({ pid }: Running): number | undefined {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ');
  return children
    .filter((child) => child !== '')
    .map(Number)
    .find((child) => {
      try {
        const isNft = readFileSync(`/proc/${child}/comm`, 'utf8').trim() === 'nft';
        return isNft && new RegExp(`^\\S+ 12 +${child} +0*[1-9a-f]`, 'm').test(sockets(child));
      } catch {
        return false;
      }
    });
}

const sockets = (pid: number): string => readFileSync(`/proc/${pid}/net/netlink`, 'utf8');

const eventsOf = (bed: Bed): readonly DriftEvent[] => new DriftBook(bed.state).read().events;

async function event(bed: Bed, number: number): Promise<DriftEvent> {
  return until(`event ${number}`, () => eventsOf(bed)[number - 1], PATIENCE);
}

/** nft under another name, as another program. */
function stranger(bed: Bed): string {
  const program = join(bed.folder, 'night-script');
  copyFileSync('/usr/sbin/nft', program);
  return program;
}

async function does(bed: Bed, program: string, command: string): Promise<void> {
  const { status, stderr } = await bed.run(program, ...command.split(' '));
  if (status !== 0) throw new Error(`${command}: ${stderr}`);
}

t.test('what others change is put right, until it is a fight', { skip }, async (t) => {
  const { bed, netd } = await watched(t);
  const program = stranger(bed);
  await does(bed, program, 'list tables');
  const forwarding = async (): Promise<string> =>
    (await bed.run('cat', '/proc/sys/net/ipv4/ip_forward')).stdout.trim();
  await bed.run('sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward');

  const before = Date.now();
  await does(
    bed,
    program,
    'add element inet sluice r_supervision_control_4 { 10.20.40.5 . 10.20.10.7 . tcp . 22 : accept }',
  );
  const first = await event(bed, 1);
  t.match(first, {
    outcome: 'healed',
    by: [/^night-script, process \d+/],
    what: [/r_supervision_control/],
    gained: [/^supervision\/10.20.40.5 may reach control\/10.20.10.7 tcp\/22 ssh/],
    lost: [],
    change: null,
  });
  t.match(first.packets[0], /10\.20\.40\.5 -> 10\.20\.10\.7 tcp\/22 .*passes by mistake, by /);
  t.ok(Date.parse(first.time) >= before);
  t.ok(await bed.holds(BEFORE));
  await netd.says(/"what":"another program changed the rules","by":"night-script, process/, PATIENCE);

  const handle = /handle (\d+)/.exec(
    (await bed.run('/usr/sbin/nft', '-a', 'list', 'chain', 'inet', 'sluice', 'g_forward')).stdout.split(
      'policy',
    )[1] ?? '',
  )?.[1];
  await does(bed, program, `delete rule inet sluice g_forward handle ${handle}`);
  t.match(await event(bed, 2), { outcome: 'healed', what: ['chain g_forward differs'] });

  await does(bed, program, 'chain inet sluice g_forward { policy accept ; }');
  t.match(await event(bed, 3), { outcome: 'healed', what: ['chain g_forward differs'] });

  await does(bed, program, 'delete table inet sluice');
  t.match(await event(bed, 4), {
    outcome: 'healed',
    what: ['no table inet sluice'],
    gained: [/^everybody may reach everybody/],
  });

  await does(bed, program, 'flush ruleset');
  t.match(await event(bed, 5), { outcome: 'healed', what: ['no table inet sluice'] });
  t.ok(await bed.holds(BEFORE));
  t.equal(MOST_HEALS, 5);
  t.equal(await forwarding(), '1');

  await does(bed, program, 'flush ruleset');
  t.match(await event(bed, 6), {
    outcome: 'given up',
    detail: /put right 5 times within 10 minutes.*forwarding between interfaces is stopped/,
  });
  t.equal(await forwarding(), '0', 'closed, and nobody opens it by flushing rules');
  t.equal(await bed.listing(), undefined, 'a fight is no loop');
  const told = (await bed.asked('status')).stdout;
  t.match(
    told,
    /forwarding between interfaces is switched off: stop that program, then .*rollback --socket /m,
  );
  t.notMatch(told, /ip_forward/, 'nobody is told to switch it on meanwhile');

  t.match(await (await Speaker.to(bed)).asked({ verb: 'rollback' }), /"ok":true/);
  await netd.says(/the rules hold again: what others change is put right again/, PATIENCE);
  t.equal(await forwarding(), '1');
  await does(bed, program, 'flush ruleset');
  t.match(await event(bed, 7), { outcome: 'healed' });
  t.ok(await bed.holds(BEFORE));

  const audit = readFileSync(join(bed.state, 'audit.jsonl'), 'utf8');
  t.match(
    audit,
    /"user":"netd","via":"netd","verb":"drift","outcome":"done","detail":"night-script, process/,
  );
  t.match(audit, /"verb":"heal","outcome":"done"/);
  t.match(audit, /"verb":"heal","outcome":"failed","detail":"put right 5 times/);
});

t.test('nothing of a netd that is killed goes on to listen', { skip }, async (t) => {
  const { netd } = await watched(t);
  const pid = monitorOf(netd);
  await netd.stop('SIGKILL');

  await until('the end of nft monitor', () => !existsSync(`/proc/${pid}`));
});

t.test('where it shall not be put right it is told, once', { skip }, async (t) => {
  const { bed, netd } = await watched(t, BEFORE.replace('mode: enforce', 'mode: enforce, heal: false'));
  const alarms = (): number =>
    netd.err.filter((line) => line.includes('another program changed the rules')).length;

  await does(bed, '/usr/sbin/nft', 'add chain inet sluice c_extra');
  t.match(await event(bed, 1), {
    outcome: 'left',
    what: ['chain c_extra is new'],
    gained: [],
    lost: [],
    packets: [],
    detail: /it is left: .\/sluice firewall rollback/,
  });
  // Touched, and as it was: nothing to tell.
  await does(bed, '/usr/sbin/nft', 'add counter inet sluice extra');
  await event(bed, 2);
  await does(bed, '/usr/sbin/nft', 'add counter inet sluice extra');
  await does(bed, '/usr/sbin/nft', 'delete counter inet sluice extra');
  await does(bed, '/usr/sbin/nft', 'delete chain inet sluice c_extra');
  await netd.says(/"what":"the rules hold again"/, PATIENCE);

  t.ok(alarms() <= 3, `told ${alarms()} times`);
  t.ok(await bed.holds(BEFORE));
});

t.test(
  'what we do ourselves is no alarm; a change that waits is what has to hold',
  { skip: skip || long },
  async (t) => {
    const { bed, netd } = await watched(t, AFTER);
    const asked = async (request: object): Promise<string> => (await Speaker.to(bed)).asked(request);

    t.match(await asked({ verb: 'apply' }), /"ok":true/);
    await does(bed, '/usr/sbin/nft', 'flush chain inet sluice g_forward');
    t.match(await event(bed, 1), { outcome: 'healed', change: bed.change, lost: [/can no longer reach/] });
    t.ok(await bed.holds(AFTER));
    t.match(await asked({ verb: 'confirm', change: bed.change }), /"ok":true/);
    bed.declare(BEFORE);
    t.match(await bed.firewall('apply'), { status: 0, stderr: /^directly|^through/ });
    t.match(await asked({ verb: 'rollback' }), /"ok":true/);
    bed.declare(AFTER);
    t.match(await asked({ verb: 'apply' }), /"ok":true/);
    await does(bed, '/usr/sbin/nft', 'delete table inet sluice');
    t.match(await event(bed, 2), { outcome: 'healed', change: null });

    t.equal(
      netd.err.filter((line) => line.includes('another program changed the rules')).length,
      2,
      'only the two that others made',
    );
  },
);

t.test(
  'nft monitor that is killed is started again, and misses nothing',
  { skip: skip || long },
  async (t) => {
    const { bed, netd } = await watched(t);
    const pid = monitorOf(netd);
    t.ok(pid);

    if (pid !== undefined) process.kill(pid, 'SIGKILL');
    await does(bed, '/usr/sbin/nft', 'flush ruleset');
    await netd.says(/nft monitor ended and is started again.*killed by SIGKILL/, PATIENCE);

    t.match(await event(bed, 1), { outcome: 'healed', what: ['no table inet sluice'] });
    await until('another monitor', () => monitorOf(netd) !== undefined && monitorOf(netd) !== pid, PATIENCE);
    await does(bed, '/usr/sbin/nft', 'flush ruleset');
    t.match(await event(bed, 2), { outcome: 'healed', by: [/^nft, process \d+/] });
    t.equal(await netd.stop(), 0, 'and it ends with netd');
    const next = monitorOf.bind(undefined, netd);
    t.throws(next, 'no process is left to ask');
  },
);

t.test('an nft that is missing, or dies of what it lists', { skip: skip || long }, async (t) => {
  const bed = await confirmed(t);
  bed.knows(BEFORE);
  bed.declare(BEFORE);
  bed.nftIs('test -f $HERE/missing && exit 127\ntest -f $HERE/dies && kill -SEGV $$\nexec $NFT "$@"\n');
  const netd = await bed.netd();
  const pid = await until('nft monitor', () => monitorOf(netd), PATIENCE);
  writeFileSync(join(bed.folder, 'missing'), '');
  process.kill(pid, 'SIGKILL');
  await bed.run('/usr/sbin/nft', 'flush', 'ruleset');
  await netd.says(/nft monitor ended and is started again.*there is no program nft/, PATIENCE);
  await netd.says(/cannot tell whether somebody changed the rules/, PATIENCE);
  writeFileSync(join(bed.folder, 'dies'), '');
  await bed.run('rm', join(bed.folder, 'missing'));
  await netd.says(/what nft cannot list: .*killed by SIGSEGV/, PATIENCE);
  t.match(await event(bed, 1), { outcome: 'failed', unclear: /SIGSEGV/, by: [] });
  await bed.run('rm', join(bed.folder, 'dies'));

  await until('the rules', async () => bed.holds(BEFORE), PATIENCE);
});
