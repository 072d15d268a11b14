import { join } from 'node:path';
import { Audit } from '../../src/netd/audit.ts';
import { fillDisk } from '../support/small-disk.ts';
import type { Bed } from './bed.ts';

/** Nothing can be written any more until the file that is returned is emptied. */
export async function filled(bed: Bed, name: string): Promise<string> {
  const stone = fillDisk(join(bed.folder, 'data'), 0, name);
  // What is left of the last block takes a few records more.
  const audit = new Audit(bed.state);
  const who = { uid: 0, user: 'root', via: 'netd' } as const;
  while ((await audit.record(who, { verb: 'fill', outcome: 'done' })) === undefined);
  return stone;
}
