import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Bed, Ran, Scope } from '../netd/bed.ts';
import { type Host, hosts, type Talk } from '../netd/hosts.ts';
import { waits } from '../netd/change.ts';
import { plant } from '../netd/measure-plants.ts';
import { REPOSITORY } from '../support/process.ts';
import { until } from '../support/wait.ts';
import { asked, PATIENCE_MS } from './asked.ts';
import { be, type Check, sh } from './check.ts';

// A change through a running netd, with real connections through the gateway, as this kernel follows and cuts them.

const BOTH = plant('tcp/4001-4002');
const ONE = plant('tcp/4001');
const THREE = plant('tcp/4001-4003');
const YEAR_SECONDS = 365 * 86_400;

export async function netd(check: Check): Promise<void> {
  const undo: (() => void)[] = [];
  const scope: Scope = { teardown: (act) => undo.push(act) };
  try {
    await changes(check, scope);
  } finally {
    for (const act of undo.toReversed()) act();
  }
}

async function changes(check: Check, scope: Scope): Promise<void> {
  const { bed, asks, serves } = await hosts(scope);
  await serves.serves(4_001, 4_002, 4_003);
  bed.patience = PATIENCE_MS;
  bed.declare(BOTH);
  let daemon = await bed.netd();
  const talks: Talk[] = [];
  await check('netd: apply and confirm, and connections go through', async () => {
    await asked(bed.socket, { verb: 'apply' });
    await asked(bed.socket, { verb: 'confirm', change: bed.change });
    for (const port of [4_001, 4_002]) talks.push(asks.talks('tcp', '10.20.10.9', port));
    for (const talk of talks) await talk.goesOn(3, PATIENCE_MS);
  });
  const [stays, goes] = talks;
  if (stays === undefined || goes === undefined) return;
  await check('netd: a connection that a change forbids is cut, another lives', async () => {
    bed.declare(ONE);
    const told = await asked(bed.socket, { verb: 'apply' });
    be(/"cut":1[,}]/.test(told), told);
    be(await isSilent(goes, stays), 'it goes on');
  });
  await check('netd: a clock that is set a year ahead, and two back, takes nothing back', async () => {
    const [now, begun] = [Date.now() / 1_000, performance.now()];
    for (const years of [1, -1, 0]) {
      const at = now + years * YEAR_SECONDS + (performance.now() - begun) / 1_000;
      sh('date -s "@$1"', String(Math.round(at)));
      // Guards look four times a second.
      await stays.goesOn(20, PATIENCE_MS);
      be((await bed.holds(ONE)) && waits(bed), `with ${years} years it is taken back`);
    }
  });
  await check('netd: unconfirmed, it is taken back, and what was cut goes on', async () => {
    bed.expire();
    await isBack(bed, BOTH);
    await goes.goesOn(3, PATIENCE_MS);
    await stays.goesOn(3, PATIENCE_MS);
  });
  await check(
    'netd: killed with its guards before the confirmation, it takes back at its start',
    async () => {
      bed.declare(THREE);
      await asked(bed.socket, { verb: 'apply' });
      const opened = asks.talks('tcp', '10.20.10.9', 4_003);
      await opened.goesOn(3, PATIENCE_MS);
      await daemon.stop('SIGKILL');
      bed.killGuards();
      be(await bed.holds(THREE), 'nobody is left, and it is taken back');
      // Its clock went on while nobody counted.
      bed.expire();
      daemon = await bed.netd();
      await isBack(bed, BOTH);
      // The rules come first, then what they forbid is cut.
      await until('silence', async () => isSilent(opened, stays), PATIENCE_MS);
    },
  );
  // Whatever became of the checks: a netd that is left would put its own rules back.
  await bed.stopped();
  await boots(check, { bed, asks, stays, goes });
}

interface Plant {
  readonly bed: Bed;
  readonly asks: Host;
  readonly stays: Talk;
  readonly goes: Talk;
}

const manages = () => connects(['ip', 'netns', 'exec', 'manager'], '10.1.2.1');

/** The script that runs before the network comes up. */
async function boots(check: Check, { bed, asks, stays, goes }: Plant): Promise<void> {
  sh(MANAGER, String(bed.pid));
  const server = bed.spawn('python3', join(REPOSITORY, 'test/netd/talk.py'), 'serve', '22');
  const script = join(REPOSITORY, 'deploy/firewall-boot.sh');
  /** A machine that has just been started holds no rules and follows no connections, and its network is not up yet. */
  const boot = async (): Promise<Ran> => {
    await links('down');
    await bed.run('nft', 'delete', 'table', 'inet', 'sluice');
    await bed.run('conntrack', '-F');
    const ran = await bed.run('sh', script, bed.state, join(bed.folder, 'run/boot.json'));
    await links('up');
    return ran;
  };
  const links = async (way: string): Promise<void> => {
    for (const name of ['vlan10', 'vlan40', 'eth9']) await bed.run('ip', 'link', 'set', name, way);
  };
  const enters = () => connects(['nsenter', '-t', String(asks.pid), '-n'], '10.20.40.1');
  await check('boot script: what was confirmed is loaded, and connections go on', async () => {
    await bed.run('nft', 'delete', 'table', 'inet', 'sluice');
    await until('the ssh of the gateway', enters);
    const { status, stderr } = await boot();
    be(status === 0 && (await bed.holds(BOTH)), stderr);
    for (const talk of [stays, goes]) await talk.goesOn(3, PATIENCE_MS);
    be(!enters(), 'the gateway can be reached');
  });
  await check('boot script: with a broken file nothing passes but management', async () => {
    const file = join(bed.state, 'boot.json');
    writeFileSync(file, readFileSync(file, 'utf8').slice(0, -40));
    const { status, stderr } = await boot();
    be(status === 0 && /is damaged; nothing but management/.test(stderr), stderr);
    be(manages(), 'management does not get in');
    be(!enters(), 'somebody else gets in');
    // What was on its way has arrived after the connection of the manager.
    const before = [stays.count, goes.count];
    be(manages() && manages(), 'management does not get in');
    be(stays.count === before[0] && goes.count === before[1], 'connections go on');
  });
  server.kill('SIGKILL');
  sh('ip netns delete manager');
}

/** Somebody at the uplink, with an address from where the gateway may be managed. */
const MANAGER = `
ip netns add manager
ip link add eth9 netns "$1" type veth peer name eth0 netns manager
nsenter -t "$1" -n sh -euc 'ip address add 10.1.2.1/24 dev eth9; ip link set eth9 up'
ip -n manager address add 10.1.2.9/24 dev eth0; ip -n manager link set eth0 up`;

const CONNECT = 'import socket, sys; socket.create_connection((sys.argv[1], 22), 3)';

/** Does ssh of the gateway answer there? */
const connects = ([program = '', ...args]: readonly string[], address: string): boolean =>
  spawnSync(program, [...args, 'python3', '-c', CONNECT, address]).status === 0;

async function isBack(bed: Bed, yaml: string): Promise<void> {
  await until('the roll back', async () => bed.holds(yaml), PATIENCE_MS);
}

/** Nothing comes on one while the other goes on. */
async function isSilent(talk: Talk, other: Talk): Promise<boolean> {
  const before = talk.count;
  await other.goesOn(20, PATIENCE_MS);
  return talk.count === before;
}
