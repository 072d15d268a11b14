import { existsSync } from 'node:fs';
import { run } from '../../src/cli/network.ts';
import { readLive } from '../../src/netd/vlan.ts';
import { networkDifferences } from '../../src/segmentation/network-differences.ts';
import { networkPlan } from '../../src/segmentation/network-plan.ts';
import { loadConfig } from '../../src/cli/load.ts';
import { be, type Check, sh } from './check.ts';

// VLANs on a trunk, and on a bridge that filters them, as ./sluice network makes and verifies them.

export const TRUNK = 'test/golden/vm/trunk.yaml';
export const BRIDGE = 'test/golden/vm/bridge.yaml';

const RENAMED = '/run/renamed.yaml';

const set = (file: string) => told(file, ['apply', '--without-networkd']);
const verify = (file: string) => told(file, ['verify']);

export async function network(check: Check): Promise<void> {
  sh(
    'for name in eth1 lan1 lan2; do ip link add $name type veth peer name far_$name; ip link set far_$name up; done',
  );
  await check('trunk: apply sets its VLANs', () => set(TRUNK));
  await check('trunk: verify finds nothing', () => verify(TRUNK));
  await check('bridge: apply, the VLANs of the trunk go', () => set(BRIDGE));
  await check('bridge: verify finds nothing', () => verify(BRIDGE));
  await check('bridge: a port has its VLAN alone', () => hasItsVlan());
  await check('bridge: a VLAN that somebody added is told', async () => {
    sh('bridge vlan add dev lan1 vid 99');
    be((await run(['verify', BRIDGE])) === 1, 'verify says that nothing differs');
  });
  await check('bridge: and apply takes it away', async () => {
    await set(BRIDGE);
    hasItsVlan();
  });
  await check(
    'bridge: VLANs of a port that is not in the file are told, and apply takes them away',
    async () => {
      sh('ip link add rogue type veth peer name far_rogue; ip link set rogue master br-plant');
      sh('bridge vlan add dev rogue vid 10 pvid untagged');
      be((await run(['verify', BRIDGE])) === 1, 'verify says that nothing differs');
      await set(BRIDGE);
      be(!sh('bridge vlan show dev rogue').includes('10'), sh('bridge vlan show'));
    },
  );
  await check('bridge: spanning tree and other tags are told, and apply sets them right', async () => {
    sh('ip link set br-plant type bridge stp_state 1 vlan_protocol 802.1ad');
    be((await run(['verify', BRIDGE])) === 1, 'verify says that nothing differs');
    await set(BRIDGE);
    await verify(BRIDGE);
  });
  await check('bridge: under another name it leaves nothing of the one before', async () => {
    sh('sed s/br-plant/br-other/ "$1" > "$2"', BRIDGE, RENAMED);
    await set(RENAMED);
    await verify(RENAMED);
    be(!existsSync('/sys/class/net/br-plant'), sh('ip -br link'));
  });
  sh('ip link delete br-other; for name in eth1 lan1 lan2 rogue; do ip link delete $name; done');
  noUnits();
}

/** What comes later begins without the units of this. */
export const noUnits = (): void => void sh('rm -f /etc/systemd/network/10-sluice-*');

export function hasItsVlan(): void {
  const vlans = sh('bridge vlan show dev lan1');
  be(vlans.includes('10 PVID Egress Untagged') && !vlans.includes('99'), vlans);
}

/** Throws with what differs where the command did not end well. */
export async function told(file: string, [verb = '', ...options]: readonly string[]): Promise<void> {
  if ((await run([verb, ...options, file])) === 0) return;
  const plan = networkPlan(await loadConfig(file));
  const differences = networkDifferences({ plan, live: readLive(), made: new Map(), closed: false });
  throw new Error(differences.map(({ link, what }) => `${link} ${what}`).join('; ') || 'files differ');
}
