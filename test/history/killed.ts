import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import type { Test } from 'tap';
import { BEGIN } from './kill-scans.ts';

export interface Kill {
  /** Of this folder. */
  readonly script: string;
  readonly args: readonly string[];
  /** What the child has to write first; anything where it is left out. */
  readonly word?: string;
  /** Milliseconds from then on. */
  readonly after: number;
}

export interface Killer {
  readonly kill: (kill: Kill) => Promise<void>;
  /** Lets a child end by itself: only that writes the compile cache. */
  readonly warm: (script: string, ...args: readonly string[]) => Promise<void>;
}

/** Runs children of a test and kills each in the middle of its work; they share a compile cache, as they start often. */
export function killer(t: Pick<Test, 'teardown'>): Killer {
  const cache = mkdtempSync(join(tmpdir(), 'history-cache-'));
  t.teardown(() => rmSync(cache, { recursive: true, force: true }));
  const start = (script: string, args: readonly string[]): ChildProcessByStdio<null, Readable, null> =>
    spawn(process.execPath, [join(import.meta.dirname, script), ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, NODE_OPTIONS: '', NODE_COMPILE_CACHE: cache, KILL_BEGIN: `${BEGIN}` },
    });
  return {
    kill: async ({ script, args, word = '', after }) => {
      const child = start(script, args);
      child.stdout.on('data', (chunk: Buffer) => {
        if (chunk.includes(word)) setTimeout(() => child.kill('SIGKILL'), after);
      });
      const signal = await new Promise((resolve) => child.once('close', (_status, by) => resolve(by)));
      if (signal !== 'SIGKILL') throw new Error('the child ended by itself');
    },
    warm: async (script, ...args) => {
      const child = start(script, args);
      await new Promise((resolve) => child.once('close', resolve));
    },
  };
}
