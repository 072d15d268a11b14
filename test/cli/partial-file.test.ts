import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { PartialFile } from '../../src/cli/partial-file.ts';

function folderOf(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'partial-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Above the largest number that a process can have on Linux (2^22). */
const NOBODY = 4_194_305;

t.test('two commands that write the same file do not write into each other', async (t) => {
  const folder = folderOf(t);
  const path = join(folder, 'out.csv');
  const other = `out.csv.${process.ppid}.partial`;
  writeFileSync(join(folder, other), 'of a process that works on it');

  const file = await PartialFile.create(path);
  await file.write(Buffer.from('mine'));
  await file.finish();

  t.equal(readFileSync(path, 'utf8'), 'mine');
  t.equal(readFileSync(join(folder, other), 'utf8'), 'of a process that works on it');
});

t.test('what processes left that are gone is removed, and nothing else', async (t) => {
  const folder = folderOf(t);
  const path = join(folder, 'out.csv');
  for (const left of [`${NOBODY}.partial`, `${NOBODY}.partial.snapshot-journal`, `${process.pid}.partial`])
    writeFileSync(`${path}.${left}`, 'left');
  const strangers = ['out.csv', `out.csv.${NOBODY}`, `out.csv2.${NOBODY}.partial`, 'out.csv.partial'];
  for (const name of strangers) writeFileSync(join(folder, name), 'mine');

  const file = await PartialFile.create(path);

  t.strictSame(readdirSync(folder).sort(), [...strangers, `out.csv.${process.pid}.partial`].sort());
  await file.discard();
  t.strictSame(readdirSync(folder).sort(), strangers.sort());
});
