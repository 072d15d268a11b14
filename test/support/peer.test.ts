import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import { missingPeer } from './peer.ts';
import { REPOSITORY } from './process.ts';

t.test(
  'what is installed in sbin is there, also for a user whose path has no sbin',
  { skip: missingPeer('mosquitto', 'mosquitto') },
  async (t) => {
    const env = { PATH: '/usr/bin:/bin', HOME: process.env['HOME'] ?? '/' };
    const script = `const { missingPeer } = await import('${import.meta.dirname}/peer.ts');
      console.log(missingPeer('mosquitto', 'mosquitto'), missingPeer('no-such-peer', 'no-such-package'))`;

    const peer = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      env,
      encoding: 'utf8',
    });
    t.equal(
      peer.stdout,
      'false no-such-peer is missing; install it with: apt-get install no-such-package\n',
      peer.stderr,
    );
    const setup = spawnSync(join(REPOSITORY, 'deploy/setup.sh'), ['test'], { env, encoding: 'utf8' });
    t.notMatch(setup.stderr, /\bmosquitto\b(?!-)/, setup.stderr);
  },
);
