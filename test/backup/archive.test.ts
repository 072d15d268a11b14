import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync, linkSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { openForWriting } from '../../src/store/open.ts';
import {
  backUp,
  contentOf,
  folderOf,
  forge,
  makeData,
  refusal,
  restore,
  verified,
  verifiedBytes,
} from './support.ts';

const THOROUGH = process.env['BACKUP_EVERY_BIT'] === 'true';

async function small(t: Test): Promise<{ readonly folder: string; readonly path: string }> {
  const folder = folderOf(t);
  makeData(join(folder, 'data'), 1);
  const path = join(folder, 'backup.tar');
  await backUp(join(folder, 'data'), path);
  return { folder, path };
}

function tar(folder: string, ...args: string[]): void {
  const { status, stderr } = spawnSync('tar', args, { cwd: folder, encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
}

t.test('stock tar unpacks a backup, and stock sha256sum and sqlite3 find it right', async (t) => {
  const { folder, path } = await small(t);
  const unpacked = join(folder, 'unpacked');
  mkdirSync(unpacked);

  tar(unpacked, 'xf', path);
  const sums = spawnSync('sha256sum', ['-c', 'SHA256SUMS'], { cwd: unpacked, encoding: 'utf8' });

  t.equal(sums.status, 0, sums.stdout);
  t.equal(sums.stdout.split('\n').length - 1, 8, 'seven databases and the manifest');
  t.notOk(
    [...contentOf(unpacked).keys()].some((name) => name.includes('identity')),
    'and no key',
  );
});

t.test('a bit that changes anywhere is noticed', { timeout: 110_000 }, async (t) => {
  const { path } = await small(t);
  const bytes = readFileSync(path);
  await verifiedBytes(bytes);
  // Every byte that is not page content of a database; of those that are, every hundredth and each end.
  const said = new Map<string, number>();
  for (let at = 0, bit = 0; at < bytes.length; at++, bit = (bit + 3) % 8) {
    const inPages = at % 512 > 2 && at % 512 < 510 && !isText(bytes, at);
    if (inPages && at % 101 !== 0 && !THOROUGH) continue;
    bytes[at] = (bytes[at] ?? 0) ^ (1 << bit);
    const says = await refusal(async () => verifiedBytes(bytes));
    bytes[at] = (bytes[at] ?? 0) ^ (1 << bit);
    if (!/damaged|no backup of Sluice|newer Sluice/.test(says)) t.fail(`bit ${bit} of byte ${at}: ${says}`);
    const kind = says.replace(/\S+\.db\S*/g, 'X');
    said.set(kind, (said.get(kind) ?? 0) + 1);
  }
  await verifiedBytes(bytes);
  t.ok([...said.values()].reduce((sum, n) => sum + n) > 5_000, [...said].join('\n'));
});

/** Headers and texts are looked at bit by bit: they are where a change could hide. */
function isText(bytes: Buffer, at: number): boolean {
  const block = bytes.subarray(at - (at % 512), at - (at % 512) + 512);
  return block.includes('ustar') || at > bytes.lastIndexOf('manifest.json', bytes.length - 4_096);
}

t.test('a backup that is cut anywhere is refused', async (t) => {
  const { path } = await small(t);
  const bytes = readFileSync(path);
  const wrong: string[] = [];
  for (
    let length = 0;
    length < bytes.length;
    length += length < 2_048 || length > bytes.length - 6_000 ? 1 : 509
  ) {
    const says = await refusal(async () => verifiedBytes(bytes.subarray(0, length)));
    if (!/ends too early|no backup of Sluice|follows its end|not in order/.test(says))
      wrong.push(`${length}: ${says}`);
  }
  t.strictSame(wrong, []);
  t.match(
    await refusal(async () => verifiedBytes(Buffer.concat([bytes, Buffer.alloc(512)]))),
    /something follows its end/,
  );
});

t.test('what is no backup is refused by name', async (t) => {
  const { folder, path } = await small(t);
  const at = (name: string): string => join(folder, name);
  writeFileSync(at('text'), 'hello');
  writeFileSync(at('empty'), '');
  writeFileSync(at('zeros'), Buffer.alloc(10_240));
  writeFileSync(at('noise'), Buffer.from(Array.from({ length: 10_000 }, (_, i) => (i * 7_919) % 251)));
  tar(folder, 'cf', 'foreign.tar', 'text', 'empty');
  tar(folder, 'czf', 'packed.tar.gz', 'text');
  const says = async (name: string): Promise<string> => refusal(async () => verified(at(name)));

  for (const name of ['text', 'empty', 'zeros', 'noise', 'packed.tar.gz'])
    t.match(
      await says(name),
      /^this is no backup of Sluice: it is no tar archive; nothing was touched/,
      name,
    );
  t.match(
    await says('foreign.tar'),
    /^this is no backup of Sluice: text in it was written by another program/,
  );
  t.match(await says('missing'), /^cannot read .*missing: ENOENT/);
  t.match(await says('data'), /^cannot read .*data: it is no file/);
  t.equal((await verified(path)).manifest.gateway, 'test-site');
});

t.test('links, folders, and names that lead out are refused, whoever wrote them', async (t) => {
  const { folder, path } = await small(t);
  const inside = join(folder, 'unpacked');
  mkdirSync(inside);
  tar(inside, 'xf', path);
  symlinkSync('/etc/passwd', join(inside, 'history.link'));
  linkSync(join(inside, 'history.db'), join(inside, 'hard.link'));
  const tried: readonly (readonly [name: string, args: readonly string[]])[] = [
    ['a symbolic link', ['--transform=s/history.link/history.db/', 'history.link']],
    ['a hard link', ['history.db', '--transform=flags=r;s/hard.link/raw\\/2026-11-24.db/', 'hard.link']],
    ['a folder', ['raw']],
    ['a name that leads out', ['-P', '--transform=s,^history.db,../history.db,', 'history.db']],
    ['an absolute name', ['-P', '--transform=s,^history.db,/tmp/history.db,', 'history.db']],
    ['keys', ['--transform=s,^history.db,identity/ca.key,', 'history.db']],
    ['an extended header', ['--format=pax', '--pax-option=comment=x', 'history.db']],
  ];
  for (const [name, args] of tried) {
    tar(inside, 'cf', '../hostile.tar', '--format=ustar', ...args);
    const into = join(folder, 'empty');
    const says = await refusal(async () => restore(join(folder, 'hostile.tar'), into));
    t.match(says, /^this is no backup of Sluice/, `${name}: ${says}`);
    t.equal(contentOf(into).size, 0);
  }
});

t.test('a database that acts by itself, or is none, is refused by its own name', async (t) => {
  const { folder } = await small(t);
  const path = join(folder, 'forged.tar');
  const telemetry = { name: 'telemetry.db', path: join(folder, 'data/telemetry.db'), schema: 3 };
  const history = { name: 'history.db', path: join(folder, 'data/history.db') };
  const says = async (forgery: Parameters<typeof forge>[1]): Promise<string> =>
    refusal(async () => restore(await forge(path, forgery), join(folder, 'into')));
  writeFileSync(join(folder, 'text'), 'no database');
  t.match(
    await says({ files: [telemetry, { ...history, path: join(folder, 'text') }] }),
    /^cannot read history.db: file is not a database/,
  );
  const db = openForWriting(telemetry.path, 64_000_000);
  db.exec('CREATE TRIGGER evil AFTER INSERT ON sample_log BEGIN DELETE FROM journal; END');
  db.pragma('journal_mode = DELETE');
  db.close();
  t.match(await says({ files: [telemetry, history] }), /^telemetry.db has a trigger, which would act/);
  t.equal(contentOf(join(folder, 'into')).size, 0);
});

t.test('an archive that is well made but holds the wrong things is refused', async (t) => {
  const { folder } = await small(t);
  const path = join(folder, 'forged.tar');
  const telemetry = { name: 'telemetry.db', path: join(folder, 'data/telemetry.db'), schema: 3 };
  const history = { name: 'history.db', path: join(folder, 'data/history.db') };
  const says = async (forgery: Parameters<typeof forge>[1]): Promise<string> =>
    refusal(async () => verified(await forge(path, forgery)));

  t.equal(await says({ files: [telemetry, history] }), 'nothing was refused');
  for (const name of [
    '../telemetry.db',
    '/etc/telemetry.db',
    'identity/ca.key',
    'raw/../x.db',
    'raw/2026-11-24.db-wal',
    'telemetry.seq',
  ])
    t.match(
      await says({ files: [telemetry, { ...history, name }] }),
      /^this is no backup of Sluice: it holds /,
      name,
    );
  t.match(await says({ files: [history] }), /it has no telemetry.db at its beginning/);
  t.match(await says({ files: [telemetry, history, history] }), /history.db is in it twice/);
  t.match(
    await says({ files: [telemetry], manifest: { version: 2 } }),
    /made by a newer Sluice .*; install that version/,
  );
  t.match(await says({ files: [telemetry], manifest: { format: 'zip' } }), /^this is no backup of Sluice/);
  for (const [key, value] of [
    ['gateway', 7],
    ['made', 'yesterday'],
    ['files', [{}]],
    ['files', 'none'],
    ['leftOut', [1]],
    ['version', '1'],
  ] as const)
    t.match(
      await says({ files: [telemetry], manifest: { [key]: value } }),
      /the backup is damaged: manifest.json/,
      key,
    );
  t.match(await says({ files: [telemetry, history], manifest: { files: [] } }), /has no telemetry.db/);
});
