import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { SluiceError } from '../core/errors.ts';
import { visible } from '../core/visible.ts';
import type { AgentCommand } from './twin-agent.ts';

const AGENT = new URL('twin-agent.ts', import.meta.url).pathname;
/** What a host still says when it has failed; more is no help. */
const MOST_SAID = 2_000;

interface Waiting {
  readonly resolve: (text: string) => void;
  readonly reject: (error: Error) => void;
}

interface Placed {
  readonly within?: TwinProcess;
  /** A script and its arguments, which speaks as `twin-agent.ts` does. */
  readonly program?: readonly string[];
}

/** A process in a network namespace that has no name: when the process ends, the kernel takes the namespace away. */
export class TwinProcess implements AsyncDisposable {
  readonly name: string;
  readonly answered = new Set<number>();
  /** Answered, with the exception of a guard. */
  readonly refused = new Set<number>();
  /** When the last answer came, in milliseconds of this process. */
  lastAnswer = 0;
  readonly #child: ChildProcess;
  readonly #waiting: Waiting[] = [];
  #said = '';
  /** How it ended. */
  #over: string | undefined;

  /** A host of its own; or another program of the one that `within` is. */
  constructor(name: string, { within, program = [AGENT] }: Placed = {}) {
    this.name = name;
    const [enter, ...where] =
      within === undefined ? ['unshare', '-n'] : ['nsenter', '-t', String(within.pid), '-n'];
    this.#child = spawn(enter, [...where, '--', process.execPath, ...program], {
      // In a group of its own: Ctrl-C on our terminal is ours to handle.
      detached: true,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      if (this.#said.length < MOST_SAID) this.#said += chunk.toString();
    });
    this.#child.stdin?.on('error', () => {}); // its end is told below
    this.#child.once('error', (error) => this.#end(error.message));
    this.#child.once('exit', (code, signal) => this.#end(`ended with ${code ?? signal}`));
    if (this.#child.stdout !== null)
      createInterface({ input: this.#child.stdout }).on('line', (line) => this.#line(line));
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  async ready(): Promise<void> {
    await this.#answer();
  }

  async do(command: AgentCommand): Promise<string> {
    const answer = this.#answer();
    this.#child.stdin?.write(`${JSON.stringify(command)}\n`);
    return answer;
  }

  async #answer(): Promise<string> {
    return new Promise((resolve, reject) => {
      if (this.#over !== undefined) reject(this.#failure(this.#over));
      else this.#waiting.push({ resolve, reject });
    });
  }

  #line(line: string): void {
    const said: unknown = JSON.parse(line);
    if (typeof said !== 'object' || said === null) return;
    if ('answered' in said) {
      this.answered.add(Number(said.answered));
      this.lastAnswer = performance.now();
    } else if ('refused' in said) {
      this.refused.add(Number(said.refused));
      this.lastAnswer = performance.now();
    } else if ('done' in said) this.#waiting.shift()?.resolve(String(said.done));
    else if ('failed' in said) this.#waiting.shift()?.reject(this.#failure(String(said.failed)));
  }

  #end(how: string): void {
    this.#over ??= how;
    for (const { reject } of this.#waiting.splice(0)) reject(this.#failure(how));
  }

  #failure(what: string): SluiceError {
    const [first = ''] = this.#said.trim().split('\n');
    return new SluiceError('SETUP', visible(`the twin host ${this.name}: ${what} ${first}`.trim()), {
      remedy:
        'nothing is left of the twin; run this as root, with iproute2, util-linux and nftables installed',
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#over !== undefined) return;
    const gone = once(this.#child, 'exit');
    this.#child.stdin?.end();
    this.#child.kill('SIGKILL');
    await gone;
  }
}
