import { existsSync, readFileSync } from 'node:fs';
import { run } from '../../src/cli/network.ts';
import { until } from '../support/wait.ts';
import { be, type Check, sh } from './check.ts';
import { BRIDGE, hasItsVlan, TRUNK, told } from './network.ts';

// The same VLANs, made by systemd-networkd from the units that ./sluice network writes. The first process is systemd.

const PATIENCE_MS = 60_000;
const LESS = '/run/less.yaml';

export async function networkd(check: Check): Promise<void> {
  sh(
    'for name in eth1 lan1 lan2; do ip link add $name type veth peer name far_$name; ip link set far_$name up; done',
  );
  await check('networkd: it runs, under systemd', async () => {
    be(readFileSync('/proc/1/comm', 'utf8').trim() === 'systemd', 'the first process is another');
    await until('networkd', () => state('systemd-networkd') === 'active', PATIENCE_MS);
    return sh('systemctl --version').split('\n')[0];
  });
  await check('networkd: apply makes the VLANs of a trunk', async () => told(TRUNK, ['apply']));
  await check('networkd: verify finds nothing', async () => told(TRUNK, ['verify']));
  await check('networkd: a VLAN that is in the file no more goes', async () => {
    const without = readFileSync(TRUNK, 'utf8').replace(/^ *supervision:.*\n/m, '');
    sh('printf %s "$1" > "$2"', without, LESS);
    await told(LESS, ['apply']);
    be(!existsSync('/sys/class/net/vlan40') && existsSync('/sys/class/net/vlan10'), sh('ip -br link'));
    await told(LESS, ['verify']);
  });
  await check('networkd: apply makes a bridge that filters VLANs', async () => told(BRIDGE, ['apply']));
  await check('networkd: verify finds nothing, and a port has its VLAN alone', async () => {
    await told(BRIDGE, ['verify']);
    hasItsVlan();
  });
  await check('networkd: a VLAN that somebody added is told, and apply takes it away', async () => {
    sh('bridge vlan add dev lan1 vid 99');
    be((await run(['verify', BRIDGE])) === 1, 'verify says that nothing differs');
    await told(BRIDGE, ['apply']);
    hasItsVlan();
  });
}

export const state = (unit: string): string => sh('systemctl is-active "$1" || true', unit).trim();
