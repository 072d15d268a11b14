import { type ChildProcess, spawn } from 'node:child_process';
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
  mkdirSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { text } from 'node:stream/consumers';
import { join } from 'node:path';
import { holds } from '../../src/netd/bring.ts';
import { digest, State } from '../../src/netd/state.ts';
import { compile } from '../../src/segmentation/compile.ts';
import { policyText } from '../../src/segmentation/policy-text.ts';
import type { Policy } from '../../src/segmentation/policy.ts';
import { render } from '../../src/segmentation/render.ts';
import { REPOSITORY, Running } from '../support/process.ts';
import { policyOf, rulesOf } from '../segmentation/policies.ts';
import { until } from '../support/wait.ts';

const IS_ROOT = process.getuid?.() === 0;

const ENTER = IS_ROOT ? ['-n'] : ['-U', '-n', '--preserve-credentials'];

export interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** What has to be undone at the end: a test of tap, or a guest that runs none. */
export interface Scope {
  teardown(undo: () => void): unknown;
}

/** A gateway of its own: a network namespace, a folder with gateway.yaml and data, and perhaps an nft that fails. */
export class Bed {
  readonly folder: string;
  /** How long a start of netd may take; an emulated machine takes minutes. */
  patience = 90_000;
  readonly #holder: ChildProcess;
  readonly #env: Record<string, string> = {};
  readonly #started: Running[] = [];
  #under: readonly string[] = [];

  private constructor(folder: string, holder: ChildProcess) {
    this.folder = folder;
    this.#holder = holder;
  }

  static async make(t: Scope): Promise<Bed> {
    const folder = mkdtempSync(join(tmpdir(), 'sluice-netd-'));
    mkdirSync(join(folder, 'data'));
    const holder = spawn('unshare', [IS_ROOT ? '-n' : '-rn', 'sleep', '600'], { stdio: 'ignore' });
    const bed = new Bed(folder, holder);
    t.teardown(() => bed.#end());
    const ours = readlinkSync('/proc/self/ns/net');
    await until('a network namespace', () => readlinkSync(`/proc/${holder.pid}/ns/net`) !== ours);
    // The link is there before the program: until then a signal could meet unshare.
    await until('its sleeper', () => readFileSync(`/proc/${holder.pid}/comm`, 'utf8').trim() === 'sleep');
    return bed;
  }

  /** Everything that was started here has ended. */
  async stopped(): Promise<void> {
    for (const running of this.#started) await running.stop('SIGKILL');
    this.killGuards();
  }

  #end(): void {
    for (const { child, over } of this.#started) if (over === undefined) child.kill('SIGKILL');
    for (const guard of [1, 2]) {
      const pid = this.guard(guard);
      if (pid !== undefined) process.kill(pid, 'SIGKILL');
    }
    this.#endStrays();
    this.#holder.kill('SIGKILL');
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** A netd that was killed leaves its nft monitor, which would wait in the namespace for ever. */
  #endStrays(): void {
    const here = namespaceOf(String(this.#holder.pid));
    if (here === undefined || here === namespaceOf('self')) return;
    const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
    for (const pid of pids.filter((one) => namespaceOf(one) === here)) {
      try {
        process.kill(Number(pid), 'SIGKILL');
      } catch {
        // It has ended by itself.
      }
    }
  }

  get state(): string {
    return join(this.folder, 'data', 'segmentation');
  }

  /** As if these rules had been applied and confirmed. */
  async confirmed(yaml: string): Promise<void> {
    await this.#confirmed(rulesOf(yaml));
  }

  async #confirmed(rules: string): Promise<void> {
    const state = new State(join(this.folder, 'data'));
    state.prepare();
    state.confirm(rules);
    const { status, stderr } = await this.run(
      '/usr/sbin/nft',
      '-j',
      '-f',
      join(this.state, 'confirmed.json'),
    );
    if (status !== 0) throw new Error(stderr);
  }

  /** What the confirmed rules were made of, as a confirmation leaves it. */
  knows(yaml: string): void {
    knows(this.state, policyOf(yaml), rulesOf(yaml));
  }

  /** Both, of a policy that no file says so exactly. */
  async confirmedPolicy(policy: Policy): Promise<void> {
    const rules = render(compile(policy));
    await this.#confirmed(rules);
    knows(this.state, policy, rules);
  }

  declare(yaml: string): void {
    writeFileSync(join(this.folder, 'gateway.yaml'), yaml);
  }

  /** From now on calls go through this shell script, which finds the program itself at $NFT. */
  nftIs(script: string): void {
    rmSync(join(this.folder, 'calls'), { force: true });
    this.programIs('nft', `NFT=/usr/sbin/nft; HERE=${this.folder}\n${script}`);
  }

  /** The same for any program. */
  programIs(name: string, script: string): void {
    const path = join(this.folder, 'bin');
    mkdirSync(path, { recursive: true });
    writeFileSync(join(path, name), `#!/bin/sh\n${script}`, { mode: 0o755 });
    this.#env['PATH'] = `${path}:${process.env['PATH'] ?? ''}`;
  }

  nftIsItself(): void {
    delete this.#env['PATH'];
  }

  set(name: string, value: string): void {
    this.#env[name] = value;
  }

  /** Of the process that holds the namespace. */
  get pid(): number {
    return this.#holder.pid ?? 0;
  }

  /** A program in the namespace that goes on. */
  spawn(program: string, ...args: readonly string[]): ChildProcess {
    const enter = IS_ROOT ? ['-n'] : ['-U', '-n', '--preserve-credentials'];
    return spawn('nsenter', ['-t', String(this.#holder.pid), ...enter, program, ...args], {
      stdio: 'ignore',
    });
  }

  async run(program: string, ...args: readonly string[]): Promise<Ran> {
    const child = spawn('nsenter', ['-t', String(this.#holder.pid), ...ENTER, program, ...args], {
      cwd: this.folder,
      env: { ...plainEnvironment(), ...this.#env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const [stdout, stderr, [status]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      new Promise<[number | null]>((resolve) => child.once('close', (code) => resolve([code]))),
    ]);
    return { status, stdout, stderr };
  }

  get socket(): string {
    return join(this.folder, 's', 'netd.sock');
  }

  /** netd of this gateway, when it listens. */
  async netd(...args: readonly string[]): Promise<Running> {
    const main = join(REPOSITORY, 'src/main.ts');
    const whole = [process.execPath, main, 'netd', '--socket', this.socket, ...args, 'gateway.yaml'];
    const running = this.#start(whole);
    await running.says(/netd listens/, this.patience);
    return running;
  }

  /** netd is started by this command from now on. */
  under(...command: readonly string[]): void {
    this.#under = command;
  }

  #start(command: readonly string[]): Running {
    const whole = ['-t', String(this.#holder.pid), ...ENTER, ...this.#under, ...command];
    const running = new Running('nsenter', whole, {
      cwd: this.folder,
      env: { ...plainEnvironment(), ...this.#env },
    });
    this.#started.push(running);
    return running;
  }

  /** A firewall command by way of netd. */
  async asked(verb: string, ...args: readonly string[]): Promise<Ran> {
    return this.firewall(verb, ...args, '--socket', this.socket);
  }

  async firewall(...args: readonly string[]): Promise<Ran> {
    return this.run(process.execPath, join(REPOSITORY, 'src/main.ts'), 'firewall', ...args);
  }

  /** The same as `firewall apply`, with a shorter time than gateway.yaml may give, and flows that must work. */
  async applyWithin(ms: number, ...flows: readonly string[]): Promise<Ran> {
    return this.run(
      process.execPath,
      join(REPOSITORY, 'test/netd/apply-within.ts'),
      'data',
      'gateway.yaml',
      String(ms),
      ...flows,
    );
  }

  /** The change that waits. */
  get change(): string {
    const [, id = ''] =
      /"id": "([0-9a-f]+)"/.exec(readFileSync(join(this.state, 'pending.json'), 'utf8')) ?? [];
    return id;
  }

  guard(number: number): number | undefined {
    try {
      const pid = readFileSync(join(this.state, `guard-${number}.pid`), 'utf8').split(' ')[0] ?? '';
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('guard.ts') ? Number(pid) : undefined;
    } catch {
      return undefined;
    }
  }

  /** The folder is moved to `away`, and there its time is over. */
  expireIn(away: string, move: () => void): void {
    move();
    this.expire(away);
  }

  /** Its time is over now. */
  expire(folder = this.state): void {
    const file = join(folder, 'pending.json');
    writeFileSync(`${file}.test`, readFileSync(file, 'utf8').replace(/"until": \d+/, '"until": 0'));
    renameSync(`${file}.test`, file);
  }

  /** kill -9 for both; stopped first, so that neither starts the other. */
  killGuards(): void {
    const pids = [1, 2].flatMap((guard) => this.guard(guard) ?? []);
    for (const pid of pids) process.kill(pid, 'SIGSTOP');
    for (const pid of pids) process.kill(pid, 'SIGKILL');
  }

  /** kill -9 */
  kill(number: number): void {
    const pid = this.guard(number);
    // A number that is not there must never become 0: that is our whole group.
    if (pid === undefined) throw new Error(`there is no guard ${number}`);
    process.kill(pid, 'SIGKILL');
  }

  /** Undefined where there is no table. */
  async listing(): Promise<string | undefined> {
    const { status, stdout } = await this.run('/usr/sbin/nft', '-j', 'list', 'table', 'inet', 'sluice');
    return status === 0 ? stdout : undefined;
  }

  async holds(yaml: string): Promise<boolean> {
    return holds(await this.listing(), rulesOf(yaml));
  }
}

/** What a confirmation of these rules leaves in the data of a gateway, without the seconds that one takes. */
export function leaveConfirmed(data: string, yaml: string): void {
  const state = new State(data);
  state.prepare();
  state.confirm(rulesOf(yaml));
  knows(join(data, 'segmentation'), policyOf(yaml), rulesOf(yaml));
}

function knows(folder: string, policy: Policy, rules: string): void {
  writeFileSync(join(folder, 'confirmed-policy.json'), policyText(policy, digest(rules)), { mode: 0o600 });
}

/** Undefined where the process has ended. */
function namespaceOf(pid: string): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return undefined;
  }
}

let connections = 0;

/**
 * What tap adds for itself must not slow down the programs under test. Each command comes by a connection of its own,
 * whatever the one is by which whoever tests came to this machine.
 */
export function plainEnvironment(): NodeJS.ProcessEnv {
  connections += 1;
  // Hundreds of processes read the same source.
  const cache = process.env['NODE_COMPILE_CACHE'] ?? join(REPOSITORY, 'node_modules/.cache/sluice');
  const own = `192.0.2.7 ${connections} 192.0.2.1 22`;
  return {
    PATH: process.env['PATH'],
    HOME: process.env['HOME'],
    NODE_COMPILE_CACHE: cache,
    SSH_CONNECTION: own,
  };
}
