import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { long } from '../support/long.ts';
import { verifyAudit } from '../../src/netd/audit-verify.ts';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { REPOSITORY, type Running } from '../support/process.ts';
import { until } from '../support/wait.ts';
import type { Bed, Ran } from './bed.ts';
import { confirmed, waits } from './change.ts';
import { AFTER, BEFORE } from './plants.ts';
import { Speaker } from './said.ts';

// The process that changes rules, asked over its socket.

const skip = noRules() || missingPeer('nsenter', 'util-linux') || missingPeer('flock', 'util-linux');
const notRoot = process.getuid?.() !== 0 && 'only real root tells others apart';
t.jobs = 3;

async function serving(t: Test): Promise<{ readonly bed: Bed; readonly netd: Running }> {
  const bed = await confirmed(t);
  return { bed, netd: await bed.netd() };
}

t.test('the commands go through netd where it answers, and say so', { skip }, async (t) => {
  const { bed, netd } = await serving(t);

  t.match(await bed.asked('apply'), {
    status: 0,
    stdout: /^applied and proven: change [0-9a-f]{8}\n/,
    stderr: /^through netd at /,
  });
  t.ok(await bed.holds(AFTER));
  t.match(await bed.asked('status', '--json'), { status: 1, stdout: /"kernel":"waiting".*"guards":2/ });
  t.match(await bed.asked('confirm', '00000000'), { status: 1, stderr: /it is not change 00000000/ });
  t.match(await bed.asked('confirm', bed.change), { status: 0, stdout: /^confirmed: change / });
  t.match(await bed.asked('rollback'), { status: 0, stdout: /confirmed last hold\n {2}nothing differed/ });
  t.equal(await netd.stop(), 0);
  t.match(await bed.asked('status'), { status: 0, stderr: /^directly: no netd listens at / });

  const { problems, last } = verifyAudit(bed.state);
  t.same(problems, []);
  t.match(
    last.map(({ verb, outcome, via }) => `${verb} ${outcome} ${via}`),
    [
      'apply intended socket',
      'apply done socket',
      'status done socket',
      'confirm failed socket',
      'confirm intended socket',
      'confirm done socket',
      'rollback intended socket',
      'rollback done socket',
    ],
  );
  t.match(last[0], { uid: process.getuid?.(), change: /^[0-9a-f]{8}$/, rules: /^[0-9a-f]{64}$/ });
});

t.test('netd reads the configuration itself, anew each time', { skip }, async (t) => {
  const { bed } = await serving(t);
  bed.declare(AFTER.replace('allow: [modbus-tcp, tcp/4840]', 'allow: [modbus-tpc]'));

  const wrong = await (await Speaker.to(bed)).asked({ verb: 'apply' });

  t.match(wrong, /"ok":false,"code":"CONFIG_INVALID"/);
  t.match(wrong, /modbus-tpc/, 'with what is wrong in it');
  t.ok(await bed.holds(BEFORE));
  bed.declare(AFTER.replace('plant7', 'plant8'));
  t.match(await (await Speaker.to(bed)).asked({ verb: 'apply' }), /another gateway now: plant8/);
  t.notOk(waits(bed));
});

t.test('a connection that was there before a change does not confirm it', { skip }, async (t) => {
  const { bed } = await serving(t);
  const old = await Speaker.to(bed);
  const applying = await Speaker.to(bed);
  t.match(await old.asked({ verb: 'plan' }), /"ok":true/);
  t.match(await applying.asked({ verb: 'apply' }), /"ok":true/);
  const confirm = { verb: 'confirm', change: bed.change };

  for (const speaker of [applying, old]) {
    t.match(await speaker.asked(confirm), /not confirmed by a connection that is older than it/);
    t.ok(waits(bed));
  }

  t.match(await (await Speaker.to(bed)).asked(confirm), /"ok":true/);
});

t.test('the ssh connection that applied does not confirm either', { skip }, async (t) => {
  const bed = await confirmed(t);
  bed.set('SSH_CONNECTION', '10.1.2.3 50000 10.1.2.1 22');
  t.equal((await bed.firewall('apply')).status, 0);

  t.match(await bed.firewall('confirm', bed.change), { status: 1, stderr: /older than it.*open a new/ });

  bed.set('SSH_CONNECTION', '10.1.2.3 50001 10.1.2.1 22');
  t.equal((await bed.firewall('confirm', bed.change)).status, 0);
});

t.test('nor after sudo, which takes its name away', { skip }, async (t) => {
  const bed = await confirmed(t);
  bed.set('SSH_CONNECTION', '10.1.2.3 50000 10.1.2.1 22');
  const sudo = (...args: readonly string[]): Promise<Ran> => {
    const main = join(REPOSITORY, 'src/main.ts');
    // The shell stays, as sudo does.
    const script = 'env -u SSH_CONNECTION "$@"; exit $?';
    return bed.run('sh', '-c', script, 'sudo', process.execPath, main, 'firewall', ...args);
  };
  t.equal((await sudo('apply')).status, 0);

  t.match(await sudo('confirm', bed.change), { status: 1, stderr: /older than it.*open a new/ });

  bed.set('SSH_CONNECTION', '10.1.2.3 50001 10.1.2.1 22');
  t.equal((await sudo('confirm', bed.change)).status, 0);
});

t.test('too many of anything is refused, and said', { skip }, async (t) => {
  const { bed } = await serving(t);

  const speaker = await Speaker.to(bed);
  speaker.say('{"v":1,"verb":"nothing"}\n'.repeat(100));
  const answers: string[] = [];
  for (let i = 0; i < 100; i += 1) answers.push(await speaker.heard());
  t.ok(answers.filter((one) => /requests a second/.test(one)).length > 40);
  t.match(await (await Speaker.to(bed)).asked({ verb: 'status' }), /"ok":true/, 'others are served');

  const hasty = await Speaker.to(bed);
  const hurried: string[] = [];
  for (let i = 0; i < 8; i += 1) hurried.push(await hasty.asked({ verb: 'confirm', change: '00000000' }));
  t.ok(hurried.some((one) => /too many changes/.test(one)));
  t.match(await hasty.asked({ verb: 'rollback' }), /"ok":true/, 'what takes back is not held up');
});

t.test("who says nothing takes nobody's place, however many they are", { skip }, async (t) => {
  const { bed, netd } = await serving(t);
  const held = new Set<Socket>();
  let isOver = false;
  /** Held for as long as netd lets it be, and then opened again. */
  const hold = (): void => {
    const one = connect(bed.socket);
    held.add(one);
    one.on('error', () => {}).resume();
    one.once('close', () => {
      held.delete(one);
      if (!isOver) setTimeout(hold, 20);
    });
  };
  t.teardown(() => {
    isOver = true;
    for (const one of held) one.destroy();
  });
  for (let i = 0; i < 80; i += 1) hold();
  await netd.says(/too many connections/);

  for (let i = 0; i < 2; i += 1) t.match(await bed.asked('rollback'), { status: 0, stderr: /^through netd/ });

  isOver = true;
});

t.test('no more of those who may ask than there are places for', { skip }, async (t) => {
  const { bed } = await serving(t);
  const speakers: Speaker[] = [];
  for (let i = 0; i < 16; i += 1) speakers.push(await Speaker.to(bed));
  for (const one of speakers) t.match(await one.asked({ verb: 'rollback' }), /"ok":true/);

  t.match(await (await Speaker.to(bed)).asked({ verb: 'status' }), /"code":"BUSY"/);

  speakers[0]?.end();
  await until('a place', async () =>
    /"ok":true/.test(await (await Speaker.to(bed)).asked({ verb: 'status' })),
  );
});

t.test('one netd for the rules of one gateway', { skip: skip || long }, async (t) => {
  const { bed } = await serving(t);

  await t.rejects(bed.netd(), /another netd has these rules/);
});

t.test(
  'a path that is too long, or a folder that others may write, is refused',
  { skip: skip || long },
  async (t) => {
    const bed = await confirmed(t);

    const long = join(bed.folder, 'x'.repeat(100));
    await t.rejects(bed.netd('--socket', long), /longer than 107 bytes/);
    await bed.run('mkdir', '-m', '777', join(bed.folder, 'open'));
    if (notRoot === false)
      await t.rejects(bed.netd('--socket', join(bed.folder, 'open', 'x')), /can be written by others/);
  },
);

t.test('a configuration that others may write is not gone by', { skip: skip || notRoot }, async (t) => {
  const { bed } = await serving(t);
  await bed.run('chmod', '666', 'gateway.yaml');

  const refused = await (await Speaker.to(bed)).asked({ verb: 'apply' });

  t.match(refused, /does not go by .*gateway.yaml: .* can be written by others/);
  t.ok(await bed.holds(BEFORE));
});

t.test('who asks about another file is told', { skip: skip || long }, async (t) => {
  const { bed } = await serving(t);
  await bed.run('cp', 'gateway.yaml', 'other.yaml');

  t.match(await bed.asked('apply', 'other.yaml'), { status: 1, stderr: /nothing was asked for/ });
});

t.test('netd alone takes a change back when both guards are killed', { skip: skip || long }, async (t) => {
  const { bed, netd } = await serving(t);
  t.equal((await bed.asked('apply')).status, 0);
  bed.killGuards();
  bed.expire();

  await netd.says(/rolled back: nobody confirmed/);

  t.ok(await bed.holds(BEFORE));
  t.notOk(waits(bed));
  t.match(
    readFileSync(join(bed.state, 'audit.jsonl'), 'utf8'),
    /"user":"netd","via":"netd","verb":"rollback"/,
  );
});

t.test('netd that is killed while a change waits: the guards take it back', { skip }, async (t) => {
  const { bed, netd } = await serving(t);
  t.equal((await bed.asked('apply')).status, 0);
  await netd.stop('SIGKILL');
  bed.expire();

  await until('the roll back', () => !waits(bed));

  t.ok(await bed.holds(BEFORE));
  await bed.netd();
  t.match(
    await bed.asked('status'),
    { stderr: /^through netd/, stdout: /holds the rules that were confirmed/ },
    'another one takes the socket that was left',
  );
});

t.test(
  'netd and both guards killed: the next netd takes the change back',
  { skip: skip || long },
  async (t) => {
    const { bed, netd } = await serving(t);
    t.equal((await bed.asked('apply')).status, 0);
    bed.killGuards();
    await netd.stop('SIGKILL');
    bed.expire();
    t.ok(await bed.holds(AFTER), 'nobody is left');

    const next = await bed.netd();
    await next.says(/rolled back: nobody confirmed/);

    t.ok(await bed.holds(BEFORE));
    t.notOk(waits(bed));
  },
);
