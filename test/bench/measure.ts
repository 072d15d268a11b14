import { readFileSync } from 'node:fs';

const TICKS_PER_SECOND = 100; // USER_HZ, what /proc/<pid>/stat counts in (proc(5), sysconf(_SC_CLK_TCK))

/** What the kernel says about a process, all its threads together. */
export interface Usage {
  readonly at: number;
  /** User and system time, in seconds. */
  readonly cpu: number;
  /** Bytes that the process caused to be sent to the disk. */
  readonly written: number;
}

export interface Spent {
  readonly seconds: number;
  readonly cpu: number;
  readonly written: number;
}

export function usage(pid: number): Usage {
  // The second field is the name in brackets and may hold anything; what follows is numbers (proc(5)).
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const ticks = Number(fields[11]) + Number(fields[12]); // utime, stime: fields 14 and 15
  const written = number(readFileSync(`/proc/${pid}/io`, 'utf8'), 'write_bytes');
  return { at: performance.now(), cpu: ticks / TICKS_PER_SECOND, written };
}

export function spent(from: Usage, to: Usage): Spent {
  return {
    seconds: (to.at - from.at) / 1_000,
    cpu: to.cpu - from.cpu,
    written: to.written - from.written,
  };
}

/** The most memory that the process ever held, in bytes. */
export function peakMemory(pid: number): number {
  return number(readFileSync(`/proc/${pid}/status`, 'utf8'), 'VmHWM') * 1_024;
}

function number(text: string, key: string): number {
  return Number(new RegExp(`^${key}:\\s*(\\d+)`, 'm').exec(text)?.[1] ?? Number.NaN);
}
