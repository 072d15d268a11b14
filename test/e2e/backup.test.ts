import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { SLUICE } from '../support/process.ts';
import { startGateway, startPlant } from '../support/running-site.ts';
import { makeSite, type Site } from '../support/site.ts';
import { cannotMount, mountSmallDisk } from '../support/small-disk.ts';
import { until } from '../support/wait.ts';

interface Said {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

function sluice(...args: string[]): Said {
  const { status, stdout, stderr } = spawnSync(SLUICE, args, { encoding: 'utf8', cwd: tmpdir() });
  return { status, out: stdout, err: stderr };
}

async function siteOf(t: Test): Promise<Site> {
  const site = await makeSite();
  t.teardown(() => site.remove());
  return site;
}

function shell(file: string, sql: string): string {
  return execFileSync('sqlite3', ['-readonly', file, sql], { encoding: 'utf8' }).trim();
}

/** Samples that the log of a stopped or running gateway holds. */
function logged(site: Site): number {
  const file = join(site.folder, 'data/telemetry.db');
  if (!existsSync(file)) return 0;
  return Number(
    spawnSync('sqlite3', ['-readonly', file, 'SELECT sum(samples) FROM sample_log'], { encoding: 'utf8' })
      .stdout,
  );
}

t.test(
  'a running gateway is backed up, and the backup goes on elsewhere without using a number twice',
  async (t) => {
    const site = await siteOf(t);
    startPlant(t, site);
    const gateway = await startGateway(t, site);
    await until('samples in the log', () => logged(site) > 50);
    const path = join(site.folder, 'backup.tar');

    const made = sluice('backup', path, '--json', site.file);
    t.equal(made.err, '', 'no terminal, no progress');
    t.match(JSON.parse(made.out), { file: path, gateway: site.id, leftOut: [] });
    t.equal(gateway.over, undefined);
    t.match(sluice('restore', path, '--check'), {
      status: 0,
      out: /backup.tar is whole: \d+ databases? of test-site, .* as of 2/,
    });
    t.match(sluice('restore', path, site.file), {
      status: 1,
      err: /another gateway runs on the data folder .*; stop it/,
    });
    t.equal(await gateway.stop(), 0);

    const other = await siteOf(t);
    const restored = sluice('restore', path, '--force', other.file);
    t.match(restored, { status: 0, out: /backup.tar is restored: / });
    const data = join(other.folder, 'data');
    const numbered = Number(
      shell(join(data, 'telemetry.db'), "SELECT value FROM meta WHERE key = 'next_seq'"),
    );
    const log = Number(shell(join(data, 'telemetry.db'), 'SELECT max(id) FROM sample_log'));
    t.ok(numbered >= 1 && log > 1);

    startPlant(t, other);
    const again = await startGateway(t, other);
    await until(
      'it records again',
      () => Number(shell(join(data, 'telemetry.db'), 'SELECT max(id) FROM sample_log')) > log,
    );
    t.equal(await again.stop(), 0);
    const later = Number(shell(join(data, 'telemetry.db'), "SELECT value FROM meta WHERE key = 'next_seq'"));
    t.ok(later > numbered + 86_400_000, `numbers go on at ${later}`);
    const rows = Number(shell(join(data, 'telemetry.db'), 'SELECT max(id) FROM sample_log'));
    t.ok(rows > log + 2 ** 31, `and rows of the sample log at ${rows}`);
    t.match(
      shell(join(data, 'telemetry.db'), "SELECT text FROM outbox WHERE kind = 'gap'"),
      /"store restored"/,
    );
  },
);

t.test('what a person may do wrong is refused in a sentence', async (t) => {
  const site = await siteOf(t);
  const data = join(site.folder, 'data');
  const path = join(site.folder, 'backup.tar');
  const refused = (said: Said, pattern: RegExp, status = 1): void => {
    t.match(said, { status, out: '', err: pattern });
    t.equal(said.err.trimEnd().split('\n').length, 1);
  };
  refused(
    sluice('backup', path, site.file),
    /^sluice: there is nothing to back up in .*data; name the configuration of a gateway that has run/,
  );
  t.strictSame(readdirSync(site.folder), ['gateway.yaml'], 'and nothing was made');
  const gateway = await startGateway(t, site);
  await until('a database', () => existsSync(join(data, 'telemetry.db')));
  t.equal(await gateway.stop(), 0);

  refused(sluice('backup'), /^sluice: FILE is missing/, 64);
  refused(sluice('restore'), /^sluice: FILE is missing/, 64);
  refused(sluice('backup', 'a', 'b', 'c'), /takes one file, not 2/, 64);
  refused(
    sluice('backup', join(data, 'backup.tar'), site.file),
    /lies in the data folder of the gateway; name a file elsewhere/,
  );
  refused(
    sluice('backup', join(site.folder, 'no/such/b.tar'), site.file),
    /make the folder .*no\/such first/,
  );
  refused(
    sluice('backup', '/dev/null', '--force', site.file),
    /\/dev\/null is no file, and would be replaced by one/,
  );
  refused(sluice('backup', site.folder, '--force', site.file), /is no file, .*; name a file in it/);
  t.match(sluice('backup', path, site.file), {
    status: 0,
    out: /backup.tar: \d databases? of test-site, [\d.]+ [kM]B, as of /,
  });
  refused(sluice('backup', path, site.file), /backup.tar is there already; with --force it is replaced/);
  t.equal(sluice('backup', path, '--force', site.file).status, 0);
  mkdirSync(join(data, 'raw'), { recursive: true });
  const torn = join(data, 'raw/2020-01-01.db');
  writeFileSync(torn, 'torn');
  t.match(
    sluice('backup', path, '--force', site.file),
    { status: 1, err: /^sluice: raw\/2020-01-01.db is not in it: .*file is not a database/ },
    'a timer that runs it notices',
  );
  rmSync(torn);
  const configuration = readFileSync(site.file, 'utf8');
  refused(
    sluice('backup', site.file, '--force', site.file),
    /is the configuration, and would be replaced/,
    64,
  );
  const note = join(site.folder, 'note.txt');
  writeFileSync(note, 'mine');
  refused(sluice('backup', note, '--force', site.file), /note.txt is there already, and is no backup; name/);
  t.equal(readFileSync(site.file, 'utf8'), configuration);
  t.equal(readFileSync(note, 'utf8'), 'mine');

  refused(sluice('restore', path, site.file), /data holds data already: .*; with --force it is moved aside/);
  refused(
    sluice('restore', site.file, site.file),
    /^sluice: this is no backup of Sluice: it is no tar archive; nothing was touched/,
  );
  writeFileSync(site.file, readFileSync(site.file, 'utf8').replace('id: test-site', 'id: other-site'));
  refused(
    sluice('restore', path, site.file),
    /the backup is of the gateway test-site, the configuration of other-site/,
  );
  const forced = sluice('restore', path, '--force', '--json', site.file);
  t.match(JSON.parse(forced.out), { gateway: 'test-site', aside: /data\.before-restore-\d{8}T\d+Z$/ });
  t.ok(existsSync(join(data, 'identity')), 'its keys stay');

  const fresh = await siteOf(t);
  writeFileSync(fresh.file, readFileSync(fresh.file, 'utf8').replace('data: ./data', 'data: ./deep/data'));
  writeFileSync(fresh.file, readFileSync(fresh.file, 'utf8').replace('id: test-site', 'id: other-site'));
  refused(sluice('restore', path, fresh.file), /the configuration of other-site; .* nothing was touched/);
  t.strictSame(readdirSync(fresh.folder), ['gateway.yaml'], 'and nothing was');
  mkdirSync(join(fresh.folder, 'deep/data'), { recursive: true });
  refused(sluice('restore', path, fresh.file), /the configuration of other-site; .* nothing was touched/);
  t.strictSame(readdirSync(join(fresh.folder, 'deep/data')), []);
});

t.test(
  'where the old can only be moved within the data folder, that is said: it counts for the quota',
  { skip: cannotMount() },
  async (t) => {
    const site = await siteOf(t);
    const disk = mountSmallDisk(join(site.folder, 'data'), 32);
    t.teardown(() => disk.unmount());
    const gateway = await startGateway(t, site);
    t.equal(await gateway.stop(), 0);
    const path = join(site.folder, 'backup.tar');
    t.equal(sluice('backup', path, site.file).status, 0);

    t.match(
      sluice('restore', path, '--force', site.file).out,
      /what was there is in .*data\/before-restore-\w+; move it to another disk before the gateway starts/,
    );
  },
);

t.test('a restore that was cut off is finished by the start of the gateway', async (t) => {
  const site = await siteOf(t);
  const data = join(site.folder, 'data');
  const path = join(site.folder, 'backup.tar');
  const gateway = await startGateway(t, site);
  t.equal(await gateway.stop(), 0);
  t.equal(sluice('backup', path, site.file).status, 0);
  t.equal(sluice('restore', path, '--force', site.file).status, 0);
  // As if the power had gone just before the new files were moved in.
  mkdirSync(join(data, 'restore.swap/new'), { recursive: true });
  renameSync(join(data, 'telemetry.db'), join(data, 'restore.swap/new/telemetry.db'));
  renameSync(join(data, 'telemetry.seq'), join(data, 'restore.swap/new/telemetry.seq'));
  writeFileSync(
    join(data, 'restore.swap/restore.json'),
    JSON.stringify({ id: 'x', aside: `${data}.before-restore-20261126T101112131Z` }),
  );

  t.match(sluice('backup', join(site.folder, 'half.tar'), site.file), {
    status: 1,
    err: /a restore into .* was interrupted/,
  });

  const again = await startGateway(t, site);
  t.equal(await again.stop(), 0);
  t.notOk(existsSync(join(data, 'restore.swap')));
  t.match(
    shell(join(data, 'telemetry.db'), "SELECT text FROM outbox WHERE kind = 'gap'"),
    /"store restored"/,
  );
});

t.test(
  'an administrator restores for the user that runs the gateway',
  { skip: process.getuid?.() === 0 ? false : 'only root can give files away' },
  async (t) => {
    const site = await siteOf(t);
    const data = join(site.folder, 'data');
    const gateway = await startGateway(t, site);
    t.equal(await gateway.stop(), 0);
    const path = join(mkdtempSync(join(tmpdir(), 'backup-')), 'backup.tar');
    t.teardown(() => rmSync(join(path, '..'), { recursive: true }));
    t.equal(sluice('backup', path, site.file).status, 0);
    chmodSync(site.folder, 0o711);
    const plan = join(data, 'restore.ready/restore.json');
    mkdirSync(join(data, 'restore.ready'));
    writeFileSync(plan, JSON.stringify({ id: 'x', aside: join(site.folder, 'loot') }));
    execFileSync('chown', ['-R', '4711:4712', data]);

    t.match(sluice('restore', path, '--force', site.file), {
      status: 1,
      err: /restore.json names .*loot as the place for what is there: no restore of Sluice wrote that/,
    });
    rmSync(join(plan, '..'), { recursive: true });
    t.notOk(existsSync(join(site.folder, 'loot')));
    t.match(
      sluice('restore', path, '--force', site.file),
      { status: 0, out: /what was there is in .*data\/before-restore-\w+; move it/ },
      'as a user that may write in the data folder, and not beside it',
    );

    for (const name of ['telemetry.db', 'telemetry.seq']) {
      const { uid, gid, mode } = statSync(join(data, name));
      t.strictSame([uid, gid], [4_711, 4_712], name);
      t.equal(mode & 0o007, 0, 'nothing for others');
    }

    rmSync(data, { recursive: true });
    mkdirSync(data);
    chownSync(data, 4_711, 4_712);
    t.equal(sluice('restore', path, site.file).status, 0, 'into a new and empty folder');
    for (const name of readdirSync(data)) t.equal(statSync(join(data, name)).uid, 4_711, name);
  },
);
