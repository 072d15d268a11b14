import { spawn } from 'node:child_process';
import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as pause } from 'node:timers/promises';
import { SluiceError } from '../core/errors.ts';
import { type Duration, milliseconds, seconds } from '../core/units.ts';
import { sinceBoot } from './monotonic.ts';

// Who takes a change back when nobody confirms it: processes in sessions of their own, which outlive whoever applied it,
// their terminal and their connection. There are two, and each starts the other again when that is killed.

export const GUARDS = [1, 2] as const;
/** A small box under load takes half a minute for two starts of Node; nothing is applied until then. */
const PATIENCE: Duration = seconds(60);
const GLANCE: Duration = milliseconds(10);
const PROGRAM = fileURLToPath(new URL('./guard.ts', import.meta.url));

/** Written by a guard when it has read what it will return to. */
export const armedFile = (folder: string, guard: number): string => join(folder, `guard-${guard}.pid`);

/** Starts those that are not there, and returns when all of them have read what they will return to. */
export async function arm(data: string, folder: string, id: string): Promise<void> {
  for (const guard of GUARDS) if (guardPid(folder, guard, id) === undefined) start(data, guard, id);
  const end = sinceBoot() + PATIENCE;
  while (GUARDS.some((guard) => guardPid(folder, guard, id) === undefined)) {
    if (sinceBoot() > end) {
      throw new SluiceError(
        'SETUP',
        'the processes that would roll back did not start: nothing was applied',
        {
          remedy: `look at the memory of this machine and at ${join(folder, 'rollback.log')}`,
        },
      );
    }
    await pause(GLANCE);
  }
}

/** Of a guard of this change that lives. */
export function guardPid(folder: string, guard: number, id: string): number | undefined {
  try {
    const [pid = '', of] = readFileSync(armedFile(folder, guard), 'utf8').split(' ');
    // A number may belong to another process by now.
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    return of === id && command.includes(PROGRAM) && command.includes(id) ? Number(pid) : undefined;
  } catch {
    return undefined;
  }
}

export function start(data: string, guard: number, id: string): void {
  const command = [process.execPath, PROGRAM, data, String(guard), id];
  // A service takes what it started with it when it stops; systemd keeps a unit of its own, and starts it again.
  const unit = [
    'systemd-run',
    '--quiet',
    '--collect',
    `--unit=sluice-guard-${id}-${guard}-${process.pid}`,
    '--property=Restart=on-failure',
  ];
  if (isUnderSystemd()) inBackground([...unit, ...command], () => inBackground(command, () => {}));
  else inBackground(command, () => {});
}

/**
 * systemd starts units for whoever has CAP_SYS_ADMIN, or polkit lets. netd has neither: what it starts stays in its own
 * unit, which kills netd alone when it stops (KillMode=process).
 */
function inBackground([program = '', ...args]: readonly string[], otherwise: () => void): void {
  const child = spawn(program, args, { detached: true, stdio: 'ignore', cwd: '/' });
  child.on('error', otherwise); // else it is missed by whoever waits for it
  child.on('exit', (status) => status === 0 || otherwise());
  child.unref();
}

/** A unit runs in the network of the machine: from within another namespace it would guard the wrong one. */
function isUnderSystemd(): boolean {
  if (!existsSync('/run/systemd/system')) return false;
  try {
    return readlinkSync('/proc/self/ns/net') === readlinkSync('/proc/1/ns/net');
  } catch {
    return false;
  }
}
