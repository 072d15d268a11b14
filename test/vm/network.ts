import { run } from '../../src/cli/network.ts';
import { readLive } from '../../src/netd/vlan.ts';
import { networkDifferences } from '../../src/segmentation/network-live.ts';
import { networkPlan } from '../../src/segmentation/network-plan.ts';
import { loadConfig } from '../../src/cli/load.ts';
import { be, type Check, sh } from './check.ts';

// VLANs on a trunk, and on a bridge that filters them, as ./sluice network makes and verifies them.

export const TRUNK = 'test/golden/vm/trunk.yaml';
export const BRIDGE = 'test/golden/vm/bridge.yaml';

export async function network(check: Check): Promise<void> {
  const root = '/run/root';
  const set = (file: string) => told(file, ['apply', '--without-networkd', '--root', root]);
  const verify = (file: string) => told(file, ['verify', '--root', root]);
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
    be((await run(['verify', '--root', root, BRIDGE])) === 1, 'verify says that nothing differs');
  });
  await check('bridge: and apply takes it away', async () => {
    await set(BRIDGE);
    hasItsVlan();
  });
  sh('ip link delete br-plant; for name in eth1 lan1 lan2; do ip link delete $name; done');
}

export function hasItsVlan(): void {
  const vlans = sh('bridge vlan show dev lan1');
  be(vlans.includes('10 PVID Egress Untagged') && !vlans.includes('99'), vlans);
}

/** Throws with what differs where the command did not end well. */
export async function told(file: string, [verb = '', ...options]: readonly string[]): Promise<void> {
  if ((await run([verb, ...options, file])) === 0) return;
  const differences = networkDifferences(networkPlan(await loadConfig(file)), readLive(), []);
  throw new Error(differences.map(({ link, what }) => `${link} ${what}`).join('; ') || 'files differ');
}
