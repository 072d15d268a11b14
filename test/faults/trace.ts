import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** A call that changes what is on the disk, or what is safe there, in the order of the effects. */
export type Call =
  | { readonly kind: 'open'; readonly fd: number; readonly path: string; readonly created: boolean }
  | { readonly kind: 'write'; readonly fd: number; readonly at: number; readonly bytes: Buffer }
  | { readonly kind: 'truncate'; readonly fd: number; readonly size: number }
  | { readonly kind: 'rename'; readonly path: string; readonly to: string }
  | { readonly kind: 'unlink' | 'mkdir' | 'rmdir'; readonly path: string }
  | { readonly kind: 'sync begins' | 'sync ended'; readonly fd: number; readonly thread: number }
  | { readonly kind: 'mark'; readonly text: string };

// The layout of `struct record` in disk-trace.c.
const HEADER = 24;
const FD = 4;
const AT = 8;
const LENGTH = 16;
const THREAD = 20;
const CREATED = 1;

/** Compiles the library to preload into `folder`. */
export function compileTracer(folder: string): string {
  const library = join(folder, 'disk-trace.so');
  const source = join(import.meta.dirname, 'disk-trace.c');
  const { status, stderr } = spawnSync(
    'gcc',
    ['-O2', '-Wall', '-Werror', '-shared', '-fPIC', source, '-o', library, '-ldl'],
    { encoding: 'utf8' },
  );
  if (status !== 0) throw new Error(stderr);
  return library;
}

/** For the process to watch: what it does below `root` goes to `trace`, and what it writes to `marks` in its place. */
export function traced(
  library: string,
  files: { readonly root: string; readonly marks: string; readonly trace: string },
): Record<string, string> {
  return {
    LD_PRELOAD: library,
    DISK_TRACE_ROOT: files.root,
    DISK_TRACE_MARKS: files.marks,
    DISK_TRACE_FILE: files.trace,
  };
}

/** The whole trace; a last record that is cut off (the process was killed) is left out. */
export function readTrace(file: string): Call[] {
  const trace = readFileSync(file);
  const calls: Call[] = [];
  for (let at = 0; at + HEADER <= trace.length; ) {
    const end = at + HEADER + trace.readUInt32LE(at + LENGTH);
    if (end > trace.length) break;
    calls.push(callAt(trace, at, end));
    at = end;
  }
  return calls;
}

function callAt(trace: Buffer, start: number, end: number): Call {
  const fd = trace.readInt32LE(start + FD);
  const at = Number(trace.readBigUInt64LE(start + AT));
  const bytes = trace.subarray(start + HEADER, end);
  const path = (): string => bytes.toString();
  switch (trace[start]) {
    case 1:
      return { kind: 'open', fd, path: path(), created: ((trace[start + 1] ?? 0) & CREATED) !== 0 };
    case 2:
      return { kind: 'write', fd, at, bytes };
    case 3:
      return { kind: 'truncate', fd, size: at };
    case 4: {
      const first = trace.readUInt16LE(start + 2);
      return { kind: 'rename', path: bytes.toString('utf8', 0, first), to: bytes.toString('utf8', first) };
    }
    case 5:
      return { kind: 'unlink', path: path() };
    case 6:
      return { kind: 'mkdir', path: path() };
    case 7:
      return { kind: 'rmdir', path: path() };
    case 8:
      return { kind: 'sync begins', fd, thread: trace.readUInt32LE(start + THREAD) };
    case 9:
      return { kind: 'sync ended', fd, thread: trace.readUInt32LE(start + THREAD) };
    case 10:
      return { kind: 'mark', text: path() };
    default:
      throw new Error(`the trace cannot follow what the process did: ${path()}`);
  }
}
