import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Forwarding } from '../support/forwarding.ts';
import { usage } from './measure.ts';
import type { Bench } from './scenario.ts';

// Debian's firewalld as somebody would use it, in the namespace of a gateway: with a D-Bus of its own, so that nothing
// of this machine hears of it.

const START_SECONDS = 240; // it takes ten thousand rich rules a minute on a busy machine

/** Why there is none here; false where it can be started. The bench does without it, so CI need not have it. */
export function noFirewalld(): string | false {
  const found = spawnSync('sh', ['-c', 'command -v firewalld && command -v dbus-daemon'], {
    stdio: 'ignore',
  });
  if (found.status === 0) return false;
  return 'for the comparison with firewalld: apt-get install --no-install-recommends firewalld dbus';
}

const BUS = (
  socket: string,
): string => `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
  "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type><listen>unix:path=${socket}</listen><auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_type="method_call"/>
    <allow send_destination="*"/><allow receive_sender="*"/>
  </policy>
</busconfig>
`;

export interface Firewalld {
  /** From its start until it says that its rules are loaded. */
  readonly seconds: number;
  readonly cpu: number;
}

/** It runs until the bed ends. */
export async function firewalld(
  bench: Bench,
  bed: Forwarding,
  folder: string,
  files: Readonly<Record<string, string>>,
): Promise<Firewalld> {
  const socket = join(folder, 'bus');
  for (const [name, content] of Object.entries({ ...files, 'bus.conf': BUS(socket), 'icmptypes/none': '' })) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), content);
  }
  bed.start('gateway', 'dbus-daemon', `--config-file=${join(folder, 'bus.conf')}`, '--nofork');
  const address = `DBUS_SYSTEM_BUS_ADDRESS=unix:path=${socket}`;
  const ask = async (): Promise<boolean> => {
    try {
      return (await bed.run('gateway', 'env', address, 'firewall-cmd', '--state')).includes('running');
    } catch {
      return false;
    }
  };
  await bench.until('a D-Bus', () => existsSync(socket));
  const began = performance.now();
  const daemon = bed.start(
    'gateway',
    'env',
    address,
    'firewalld',
    '--nofork',
    '--nopid',
    '--system-config',
    folder,
  );
  await bench.until('firewalld', ask, START_SECONDS);
  return { seconds: (performance.now() - began) / 1_000, cpu: usage(daemon.pid ?? 0).cpu };
}
