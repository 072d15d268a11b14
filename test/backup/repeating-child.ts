// Backs up, or restores, again and again, until it is killed: `backup DATA FILE` or `restore FILE DATA`.
import { rmSync, writeSync } from 'node:fs';
import { asideFor, backUp, restore } from './support.ts';

const [what = '', from = '', to = ''] = process.argv.slice(2);
writeSync(1, 'ready\n');
for (;;) {
  if (what === 'backup') await backUp(from, to);
  else {
    rmSync(asideFor(to), { recursive: true, force: true });
    await restore(from, to, true);
  }
}
