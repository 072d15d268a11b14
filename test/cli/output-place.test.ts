import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { BACKUP, EXPORT, assertReplaceable } from '../../src/cli/output-place.ts';
import { FORMATS } from '../../src/export/encoder.ts';
import { exported, mixed } from '../export/support.ts';

t.test('an export of any format is replaced where that is asked for, anything else never', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'place-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'out');
  t.doesNotThrow(() => assertReplaceable(path, false, EXPORT), 'there is nothing');

  for (const format of FORMATS) {
    writeFileSync(path, await exported(format, [mixed()]));
    t.throws(() => assertReplaceable(path, false, EXPORT), { message: /out is there already$/ }, format);
    t.doesNotThrow(() => assertReplaceable(path, true, EXPORT), format);
    t.throws(() => assertReplaceable(path, true, BACKUP), { message: /is no backup/ }, format);
  }
  for (const text of ['mine', 'time,value\n', '{"name": 1}'])
    for (const force of [true, false]) {
      writeFileSync(path, text);
      t.throws(() => assertReplaceable(path, force, EXPORT), {
        message: /is there already, and is no export/,
      });
    }
  writeFileSync(path, '');
  t.doesNotThrow(() => assertReplaceable(path, true, EXPORT), 'cut short');
});
