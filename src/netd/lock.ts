import { spawn } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import { join } from 'node:path';
import { errorText, SluiceError } from '../core/errors.ts';
import type { Duration } from '../core/units.ts';

/** Whoever changes rules or the state of a change holds it; it ends with its holder, however that ends. */
export interface Lock extends Disposable {
  /** Children that get this descriptor keep the lock while they live. */
  readonly descriptor: number;
}

/** Another one holds it: util-linux, flock(1), --conflict-exit-code. */
const TAKEN = 75;

/** Of the rules, and of the state of a change. */
export const LOCK = 'lock';
const RULES = { name: LOCK, taken: 'another change of the rules is under way' };

/** Waits at most `patience` for whoever has it. */
export async function lockOf(
  folder: string,
  patience: Duration,
  { name, taken }: { readonly name: string; readonly taken: string } = RULES,
): Promise<Lock> {
  const descriptor = opened(join(folder, name));
  try {
    // Node cannot lock. flock(1) locks the open file that it inherits, and the lock stays with our descriptor.
    const code = await flock(descriptor, patience);
    if (code === 0) return { descriptor, [Symbol.dispose]: () => closeSync(descriptor) };
    throw new SluiceError('SETUP', code === TAKEN ? taken : `flock failed: ${code}`, {
      remedy: code === TAKEN ? 'wait for it to end, then try again' : 'check the disk below gateway.data',
    });
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

function opened(path: string): number {
  try {
    return openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  } catch (cause) {
    throw new SluiceError('SETUP', `cannot open ${path}: ${errorText(cause)}`, {
      cause,
      remedy: 'run this as root; check the disk',
    });
  }
}

async function flock(descriptor: number, patience: Duration): Promise<number | string> {
  const seconds = Math.max(0, patience / 1_000);
  const args = ['--exclusive', '--timeout', String(seconds), '--conflict-exit-code', String(TAKEN), '3'];
  const child = spawn('flock', args, { stdio: ['ignore', 'ignore', 'ignore', descriptor] });
  return new Promise((resolve, reject) => {
    child.once('error', (cause) =>
      reject(
        new SluiceError('SETUP', `cannot lock the rules: ${errorText(cause)}`, {
          cause,
          remedy: 'flock is a part of util-linux: apt-get install util-linux',
        }),
      ),
    );
    child.once('close', (code, signal) => resolve(code ?? signal ?? 'unknown'));
  });
}
