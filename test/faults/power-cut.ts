import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { randomOf } from '../bench/plant-signals.ts';
import { type Model, SimulatedDisk } from './disk.ts';
import { type Call, readTrace, traced } from './trace.ts';
import { type Said, listen } from './verdict.ts';

/** What a process did from the moment the power was on, and what lay on the disk then. */
export interface Life {
  /** A copy of the files at the beginning, which nobody changes. */
  readonly before: string;
  /** The folder that the calls name; its files are as the process left them. */
  readonly root: string;
  readonly calls: readonly Call[];
}

/** Lets a child of this folder work on a copy of `before`. Its arguments: the folder, the file for its marks, `args`. */
export async function live(
  library: string,
  child: string,
  before: string,
  args: readonly string[],
): Promise<Life> {
  const work = `${before}-life`;
  const [root, marks, trace] = [join(work, 'data'), join(work, 'marks'), join(work, 'trace')];
  mkdirSync(work);
  cpSync(before, root, { recursive: true });
  const running = spawn(process.execPath, [join(import.meta.dirname, child), root, marks, ...args], {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, NODE_OPTIONS: '', ...traced(library, { root, marks, trace }) },
  });
  const status = await new Promise((resolve) => running.once('close', resolve));
  if (status !== 0) throw new Error(`${child} ended with ${String(status)}`);
  return { before, root, calls: readTrace(trace) };
}

/** Calls about files whose name matches. */
export function callsOn(life: Life, wanted: RegExp): number[] {
  const open = new Map<number, string>();
  const found: number[] = [];
  for (const [i, call] of life.calls.entries()) {
    if (call.kind === 'open') open.set(call.fd, call.path);
    if (call.kind === 'mark') continue;
    const path = 'path' in call ? call.path : (open.get(call.fd) ?? '');
    if (wanted.test(path.slice(life.root.length))) found.push(i);
  }
  return found;
}

/** `count` of the moments, in their order, some perhaps twice. */
export function choose(moments: readonly number[], count: number, random: () => number): number[] {
  const chosen = Array.from({ length: count }, () => moments[Math.floor(random() * moments.length)] ?? 0);
  return chosen.sort((a, b) => a - b);
}

export interface Cut {
  /** Repeats what is on the disk after it. */
  readonly seed: number;
  /** The power fails before this call has any effect. */
  readonly at: number;
  /** What may be on the disk; removed when the visit is over. */
  readonly folder: string;
}

/** Cuts the power at these calls, in ascending order, and lets `visit` look at each disk and at what was said before. */
export async function cutPower(
  life: Life,
  moments: readonly number[],
  { model, seed, said }: { readonly model: Model; readonly seed: number; readonly said: Said },
  visit: (cut: Cut, said: Said) => Promise<void>,
): Promise<void> {
  const disk = new SimulatedDisk(life.root, life.before, model);
  let next = 0;
  for (const [i, at] of moments.entries()) {
    for (; next < at; next++) {
      const call = life.calls[next];
      if (call === undefined) break;
      disk.apply(call);
      if (call.kind === 'mark') listen(said, call.text);
    }
    const cut = { seed: seed + i, at, folder: `${life.before}-cut-${seed + i}` };
    disk.cut(cut.folder, randomOf(cut.seed));
    try {
      await visit(cut, said);
    } finally {
      rmSync(cut.folder, { recursive: true });
    }
  }
}
