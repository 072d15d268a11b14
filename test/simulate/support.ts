import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Config, PointConfig } from '../../src/config/config.ts';
import { parseConfig } from '../../src/config/parse.ts';

export interface Ran {
  readonly status: number | null;
  readonly text: string;
}

/** Runs a peer to its end; the simulated plant lives in this process and must be able to answer meanwhile. */
export async function ran(program: string, args: readonly string[], input = ''): Promise<Ran> {
  const child = spawn(program, args);
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()));
  child.stdin.end(input);
  await once(child, 'close');
  return { status: child.exitCode, text };
}

export function configOf(yaml: string): Config {
  const parsed = parseConfig(yaml, '/plant/gateway.yaml');
  if ('config' in parsed) return parsed.config;
  throw new Error(JSON.stringify(parsed.problems, undefined, 2));
}

export function pointNamed({ points }: Config, device: string, name: string): PointConfig {
  const point = points.find((one) => one.device === device && one.name === name);
  if (point === undefined) throw new Error(`no point ${device}/${name}`);
  return point;
}
