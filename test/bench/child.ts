import { type ChildProcess, spawn } from 'node:child_process';
import type { z } from 'zod';
import { reply } from './answering.ts';

const STOP_MS = 15_000; // a gateway may still be committing; then it is killed
const TAIL = 4_000; // characters of standard error that an error message can use

/** Whatever still runs when the bench leaves in an unforeseen way. */
const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export interface ChildOptions {
  /** For people: who this is, in messages. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** File descriptor for standard output. */
  readonly stdout?: number;
  /** Open a message channel for `ask`. */
  readonly channel?: boolean;
}

/** A process that belongs to the bench and ends with it. */
export class Child implements AsyncDisposable {
  readonly name: string;
  readonly pid: number;
  readonly exited: Promise<void>;
  #process: ChildProcess;
  #tail = '';
  #ended: string | undefined;
  #asked = 0;
  #waiting = new Map<number, { resolve: (answer: unknown) => void; reject: (error: Error) => void }>();

  constructor({ name, command, args, cwd, env, stdout, channel }: ChildOptions) {
    this.name = name;
    this.#process = spawn(command, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: ['ignore', stdout ?? 'ignore', 'pipe', ...(channel === true ? (['ipc'] as const) : [])],
    });
    this.pid = this.#process.pid ?? 0;
    running.add(this.#process);
    this.#process.stderr?.setEncoding('utf8');
    this.#process.stderr?.on('data', (text: string) => {
      this.#tail = (this.#tail + text).slice(-TAIL);
    });
    this.exited = new Promise((resolve) => {
      const ended = (how: string): void => {
        running.delete(this.#process);
        this.#ended ??= how;
        for (const { reject } of this.#waiting.values()) reject(this.failure());
        resolve();
      };
      this.#process.once('error', (error) => ended(`did not start: ${error.message}`));
      this.#process.once('close', (code, signal) => ended(`ended with ${signal ?? `status ${code}`}`));
    });
    this.#process.on('message', (message) => {
      const { id, answer } = reply.parse(message);
      this.#waiting.get(id)?.resolve(answer);
      this.#waiting.delete(id);
    });
  }

  /** A TypeScript file beside this one, with its set-up as JSON in the first argument. */
  static helper(name: string, file: string, setup: unknown): Child {
    const path = new URL(file, import.meta.url).pathname;
    return new Child({ name, command: process.execPath, args: [path, JSON.stringify(setup)], channel: true });
  }

  /** Standard error, its last part. */
  get tail(): string {
    return this.#tail;
  }

  /** Throws where the process has ended although nobody stopped it. */
  mustRun(): void {
    if (this.#ended !== undefined) throw this.failure();
  }

  failure(): Error {
    return new Error(`${this.name} ${this.#ended ?? 'failed'}\n${this.#tail.trimEnd()}`);
  }

  async ask<T>(ask: unknown, answer: z.ZodType<T>): Promise<T> {
    this.mustRun();
    const id = ++this.#asked;
    const given = await new Promise<unknown>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      // Without a callback a child that is just going would raise an event that nobody waits for.
      this.#process.send({ id, ask }, (error) => {
        if (error !== null) reject(this.failure());
      });
    });
    return answer.parse(given);
  }

  async stop(): Promise<void> {
    if (this.#ended !== undefined) return;
    this.#process.kill('SIGTERM');
    const late = setTimeout(() => this.#process.kill('SIGKILL'), STOP_MS);
    await this.exited;
    clearTimeout(late);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
