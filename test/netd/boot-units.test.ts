import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { missingPeer } from '../support/peer.ts';
import { REPOSITORY } from '../support/process.ts';

// Whatever brings up the network waits for the rules, and does not go on without them: systemd is asked what it makes of
// the unit, in a folder in the place of /. What it does with that a machine of its own shows (test/vm).

const UNITS = join(REPOSITORY, 'deploy/systemd');
const UNIT = 'sluice-firewall.service';
/** The services by which Debian brings up interfaces; the last one each that is plugged in later. */
const NETWORKS = [
  'systemd-networkd.service',
  'NetworkManager.service',
  'networking.service',
  'ifup@.service',
];

/** Links lead to where they will be, which is not here. */
const namesIn = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder) : []);

t.test('each of them requires the rules', { skip: missingPeer('systemctl', 'systemd') }, async (t) => {
  const root = t.testdir({});
  const system = join(root, 'etc/systemd/system');
  mkdirSync(system, { recursive: true });
  copyFileSync(join(UNITS, UNIT), join(system, UNIT));

  const enabled = spawnSync('systemctl', ['--root', root, 'enable', UNIT], { encoding: 'utf8' });

  t.equal(enabled.status, 0, enabled.stderr);
  for (const network of NETWORKS) t.same(namesIn(join(system, `${network}.requires`)), [UNIT], network);
});

t.test('and comes after them, so that it cannot be up before they fail', async (t) => {
  const [, before = ''] = /^Before=(.*)$/m.exec(readFileSync(join(UNITS, UNIT), 'utf8')) ?? [];
  for (const network of NETWORKS) {
    // A template cannot be named there: it says so itself.
    const own = join(UNITS, `${network}.d/sluice.conf`);
    const after = existsSync(own) ? readFileSync(own, 'utf8') : '';
    t.ok(before.split(' ').includes(network) || after.split('\n').includes(`After=${UNIT}`), network);
  }
});
