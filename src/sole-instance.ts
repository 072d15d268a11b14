import { lchownSync, lstatSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { finishRestore } from './backup/swap.ts';
import { errorText, SluiceError } from './core/errors.ts';
import { isLocked, lockFile } from './store/open.ts';

/** Empty; it stays, and says nothing by being there. */
export const LOCK_FILE = 'gateway.lock';

/**
 * Holds the data folder for this process. Two gateways on one outbox would send what the other acknowledged. The lock
 * is the kernel's, on a file in the folder: it goes with the process, also by kill -9 or power cut, holds between
 * containers that share the folder, and only who may write there can take it.
 *
 * @throws SluiceError SETUP where another gateway has it, or where the folder cannot be used.
 */
export function holdData(folder: string): Disposable {
  const file = join(folder, LOCK_FILE);
  try {
    mkdirSync(folder, { recursive: true, mode: 0o750 });
    const release = lockFile(file);
    if (release !== undefined) {
      using held = new DisposableStack();
      held.defer(release);
      giveToOwner(folder, file);
      finishRestore(folder); // a power cut in the middle of one leaves what is old and what is new side by side
      return held.move();
    }
  } catch (cause) {
    if (cause instanceof SluiceError) throw cause;
    throw new SluiceError('SETUP', `cannot use the data folder ${folder}: ${errorText(cause)}`, {
      cause,
      remedy: 'give it to the user that runs sluice, or give another gateway.data',
    });
  }
  throw new SluiceError('SETUP', `another gateway runs on the data folder ${folder}`, {
    remedy: 'stop it, or give this one another gateway.data',
  });
}

/** Does a gateway run on the data folder? */
export function isHeld(folder: string): boolean {
  return isLocked(join(folder, LOCK_FILE));
}

/** Where an administrator restores into an empty folder, the user that runs the gateway can lock it afterwards. */
function giveToOwner(folder: string, file: string): void {
  if (process.geteuid?.() !== 0) return;
  const { uid, gid } = statSync(folder);
  if (lstatSync(file).uid === uid) return;
  try {
    lchownSync(file, uid, gid);
  } catch {
    // A share or a container may not let root; the lock holds all the same.
  }
}
