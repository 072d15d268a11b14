import { spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { holds } from '../../src/netd/bring.ts';
import { closedRulesOf, rulesOf } from '../segmentation/policies.ts';
import { until } from '../support/wait.ts';
import { asked, PATIENCE_MS } from './asked.ts';
import { be, type Check, sh } from './check.ts';
import { state } from './networkd.ts';

// The units of deploy/ under a real systemd, with all that they forbid to what they start.

const FILE = '/etc/sluice/gateway.yaml';
const FOLDER = '/var/lib/sluice/segmentation';
const REPORT = '/run/sluice/boot.json';
const UNITS = ['sluice-firewall.service', 'sluice-netd.service', 'sluice.service'];
const SWITCHES = ['/proc/sys/net/ipv4/ip_forward', '/proc/sys/net/ipv6/conf/all/forwarding'];
const SOCKET = '/run/sluice/plant7.sock';

export async function units(check: Check): Promise<void> {
  const before = readFileSync(FILE, 'utf8');
  const after = before.replace('[modbus-tcp]', '[modbus-tcp, tcp/4840]');
  await check('units: systemd-analyze verify has nothing to say', () => {
    const said = sh(
      'systemd-analyze verify "$@" 2>&1',
      ...UNITS.map((name) => `/etc/systemd/system/${name}`),
    );
    be(said.trim() === '', said);
  });
  await check('units: the rules were loaded before networkd was started', () => {
    const [rules, network] = [
      time('sluice-firewall', 'ExecMainExitTimestampMonotonic'),
      time('systemd-networkd', 'ExecMainStartTimestampMonotonic'),
    ];
    be(rules > 0 && rules < network, `rules at ${rules} us, networkd at ${network} us`);
    be(outcome() === 'confirmed' && holdsRulesOf(before), `the start ended with ${outcome()}`);
  });
  await check('units: netd runs, with CAP_NET_ADMIN alone', async () => {
    await until('netd', () => /netd listens/.test(journal('sluice-netd')), PATIENCE_MS);
    const [, rights] = /CapBnd:\s*(\w+)/.exec(readFileSync(`/proc/${pid()}/status`, 'utf8')) ?? [];
    be(rights === '0000000000001000', `CapBnd ${rights}`);
  });
  await check('units: netd applies and confirms', async () => {
    writeFileSync(FILE, after);
    await asked(SOCKET, { verb: 'apply' });
    be(holdsRulesOf(after), 'the kernel holds something else');
    await asked(SOCKET, { verb: 'confirm', change: change() });
    await asked(SOCKET, { verb: 'status' });
  });
  await check(
    'units: all of netd killed before a confirmation: it starts again and takes the change back',
    async () => {
      writeFileSync(FILE, before);
      await asked(SOCKET, { verb: 'apply' });
      be(holdsRulesOf(before), 'the kernel holds something else');
      const first = pid();
      sh('systemctl kill -s KILL sluice-netd');
      expire();
      await until('the roll back', () => holdsRulesOf(after), PATIENCE_MS);
      await until('another netd', () => state('sluice-netd') === 'active' && pid() !== first, PATIENCE_MS);
    },
  );
  await check('units: netd tells who changed the rules, with user and command', async () => {
    await until('nft monitor', monitors, PATIENCE_MS).catch((error: unknown) => {
      throw new Error(`${String(error)}: ${journal('sluice-netd').slice(-1_000)}`);
    });
    const lives = `(echo 'insert rule inet sluice g_forward accept'; exec sleep 600) | nft -i`;
    const program = spawn('sh', ['-c', lives], { detached: true, stdio: 'ignore' });
    try {
      await until('what became of it', () => /g_forward/.test(drift()), PATIENCE_MS);
      const [by = 'nobody'] = /"by": \[[^\]]*\]/.exec(drift()) ?? [];
      be(/nft, process \d+ of user 0, started by sh: nft -i/.test(by), `${by}; ${journal('sluice-netd')}`);
      await until('the rules', () => holdsRulesOf(after), PATIENCE_MS);
    } finally {
      if (program.pid !== undefined) process.kill(-program.pid, 'SIGKILL');
    }
  });
  await check('units: netd gives up a fight, and switches forwarding off', async () => {
    for (const path of SWITCHES) writeFileSync(path, '1\n');
    await until(
      'no forwarding',
      () => {
        sh('nft insert rule inet sluice g_forward accept 2>/dev/null || true');
        return SWITCHES.every((path) => readFileSync(path, 'utf8').trim() === '0');
      },
      PATIENCE_MS,
    );
    await asked(SOCKET, { verb: 'rollback' });
    be(holdsRulesOf(after), 'the kernel holds something else');
    await until('forwarding', () => SWITCHES.every((path) => readFileSync(path, 'utf8').trim() === '1'));
  });
  await check('units: with a broken file the start ends with management alone', () => {
    const file = `${FOLDER}/boot.json`;
    writeFileSync(file, readFileSync(file, 'utf8').slice(0, -40));
    sh('systemctl stop sluice-netd; nft delete table inet sluice; systemctl restart sluice-firewall');
    be(outcome() === 'closed' && holdsRules(closedRulesOf(after)), `it ended with ${outcome()}`);
  });
  await check('units: where no rules can be loaded the network does not come up', () => {
    sh(`
mkdir -p /run/systemd/system/sluice-firewall.service.d
printf '[Service]\\nEnvironment=SLUICE_NFT=/nowhere/nft\\n' > /run/systemd/system/sluice-firewall.service.d/no-nft.conf
systemctl daemon-reload
systemctl stop systemd-networkd.socket systemd-networkd sluice-firewall
! systemctl start systemd-networkd 2>/dev/null`);
    be(outcome() === 'failed' && state('systemd-networkd') !== 'active', `it ended with ${outcome()}`);
    be(
      SWITCHES.every((path) => readFileSync(path, 'utf8').trim() === '0'),
      'the machine forwards',
    );
  });
}

const property = (unit: string, name: string): string =>
  sh('systemctl show --value -p "$1" "$2"', name, unit).trim();
const time = (unit: string, name: string): number => Number(property(unit, name));
const pid = (): string => property('sluice-netd', 'MainPID');
const journal = (unit: string): string => sh('journalctl --no-pager -o cat -u "$1"', unit);
/** What the last start ended with; netd renames the report when it has told it. */
function outcome(): string {
  const report = readFileSync(existsSync(REPORT) ? REPORT : `${REPORT}.told`, 'utf8');
  return /"outcome":"([^"]*)"/.exec(report)?.[1] ?? report;
}

const change = (): string =>
  /"id": "([0-9a-f]+)"/.exec(readFileSync(`${FOLDER}/pending.json`, 'utf8'))?.[1] ?? '';

/** Does nft monitor of netd hear of changes? A socket of netlink for netfilter (12), with groups. */
function monitors(): boolean {
  const nft = sh('pgrep -P "$1" -x nft || true', pid()).trim();
  const sockets = readFileSync('/proc/net/netlink', 'utf8');
  return nft !== '' && new RegExp(`^\\S+ 12 +${nft} +0*[1-9a-f]`, 'm').test(sockets);
}

const drift = (): string =>
  existsSync(`${FOLDER}/drift.json`) ? readFileSync(`${FOLDER}/drift.json`, 'utf8') : '';

const holdsRules = (document: string): boolean => holds(sh('nft -j list table inet sluice'), document);
const holdsRulesOf = (yaml: string): boolean => holdsRules(rulesOf(yaml));

/** The time of the change is over now. */
function expire(): void {
  const file = `${FOLDER}/pending.json`;
  sh('sed -E \'s/"until": [0-9]+/"until": 0/\' "$1" > "$1.test"; mv "$1.test" "$1"', file);
}
