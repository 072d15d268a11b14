import { chmodSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Running, SLUICE } from '../support/process.ts';
import { makeSite } from '../support/site.ts';
import { until } from '../support/wait.ts';

t.test('what the gateway writes is no business of other users, whatever the umask is', async (t) => {
  const site = await makeSite();
  t.teardown(() => site.remove());
  const data = join(site.folder, 'data');
  mkdirSync(data);
  chmodSync(data, 0o777); // made by somebody who did not think of it
  const issue = ['-c', 'umask 0; exec "$@"', 'sh', SLUICE, 'credentials', 'issue', 'hmi', '--out'];
  t.equal(await new Running('sh', [...issue, join(data, 'credentials'), site.file]).ended, 0);
  const gateway = new Running('sh', ['-c', 'umask 0; exec "$@"', 'sh', SLUICE, 'run', site.file]);
  t.teardown(async () => gateway.stop('SIGKILL'));
  await gateway.says(/broker listens/);
  const found = () => readdirSync(data, { recursive: true, encoding: 'utf8' });
  await until('the store is open', () => found().includes('telemetry.db'));

  for (const name of found()) {
    const mode = statSync(join(data, name)).mode & 0o777;
    if (name.endsWith('.key')) t.equal(mode, 0o600, name);
    else if (/^(identity|credentials)$/.test(name)) t.equal(mode, 0o700, name);
    else if (!/^(identity|credentials)\//.test(name)) t.equal(mode & 0o027, 0, `${name} ${mode.toString(8)}`);
  }
  t.equal(await gateway.stop(), 0);
});
