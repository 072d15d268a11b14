import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { until } from './wait.ts';

export const REPOSITORY = new URL('../../', import.meta.url).pathname;
export const SLUICE = `${REPOSITORY}sluice`;

/** A process under test: its lines are kept, and waiting for one of them is waiting for a state. */
export class Running {
  readonly child: ChildProcess;
  readonly out: string[] = [];
  readonly err: string[] = [];
  readonly ended: Promise<number | string>;
  #over: number | string | undefined;

  constructor(
    command: string,
    args: readonly string[],
    options: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
  ) {
    this.child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const [stream, lines] of [
      [this.child.stdout, this.out],
      [this.child.stderr, this.err],
    ] as const) {
      if (stream) createInterface({ input: stream }).on('line', (line) => lines.push(line));
    }
    this.ended = new Promise((resolve, reject) => {
      this.child.once('error', reject);
      this.child.once('close', (code, signal) => {
        this.#over = code ?? signal ?? 'unknown';
        resolve(this.#over);
      });
    });
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  get over(): number | string | undefined {
    return this.#over;
  }

  /** Waits for a line on either stream; fails with everything that was said when the process ends before. */
  async says(pattern: RegExp, limitMs = 30_000): Promise<string> {
    return until(
      `a line like ${pattern} of ${this.child.spawnargs.join(' ')}`,
      () => {
        const line = [...this.out, ...this.err].find((text) => pattern.test(text));
        if (line === undefined && this.#over !== undefined) {
          throw new Error(`ended with ${this.#over} before it said ${pattern}:\n${this.err.join('\n')}`);
        }
        return line;
      },
      limitMs,
    );
  }

  /** Sends a signal and waits for the end. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | string> {
    if (this.#over === undefined) this.child.kill(signal);
    return this.ended;
  }
}
