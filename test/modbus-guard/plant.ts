import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, readlinkSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { join } from 'node:path';
import type { Test } from 'tap';
import { plainEnvironment } from '../netd/bed.ts';
import { rulesOf } from '../segmentation/policies.ts';
import { until } from '../support/wait.ts';

const HERE = new URL('.', import.meta.url).pathname;
const PEERS = join(HERE, 'peers.py');
const PYTHON = '/usr/bin/python3';
/** Units that nobody else asks. */
const FIRST_MARKER = 100;
type Place = 'client' | 'gateway' | 'device';

/** Addresses of the plant: the client, the device behind the gateway. */
export const CLIENT = { 4: '10.20.40.5', 6: 'fd00:40::5' } as const;
export const DEVICE = { 4: '10.20.10.11', 6: 'fd00:10::12' } as const;

/** Whoever speaks TCP by hand must keep the kernel from ending what it knows nothing of. */
export const NO_RESETS =
  'nft add table ip own; nft add chain ip own out "{ type filter hook output priority 0; }"; nft add rule ip own out tcp sport 20000-30000 tcp flags rst drop';

/** A client, the gateway with rules and guard, and a device: three namespaces that end with the test. */
export class GuardedPlant {
  readonly writes: string[] = [];
  /** Requests of any kind that the device has taken. */
  asked = 0;
  #lines: string[] = [];
  #markers = 0;
  readonly #holders = new Map<Place, ChildProcess>();
  readonly #children: ChildProcess[] = [];
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async make(t: Test, yaml: string): Promise<GuardedPlant> {
    const plant = new GuardedPlant(
      t.testdir({ 'gateway.yaml': yaml, 'rules.json': rulesOf(yaml), data: {} }),
    );
    t.teardown(() => plant.#end());
    for (const place of ['client', 'gateway', 'device'] as const) await plant.#hold(place);
    await plant.#wire();
    for (const host of [DEVICE[4], DEVICE[6]]) await plant.#serve(host);
    await plant.sh('gateway', `nft -j -f ${plant.folder}/rules.json`);
    return plant;
  }

  #end(): void {
    for (const child of [...this.#children, ...this.#holders.values()]) child.kill('SIGKILL');
  }

  async #hold(place: Place): Promise<void> {
    const holder = spawn('unshare', ['-n', 'sleep', '600'], { stdio: 'ignore' });
    this.#holders.set(place, holder);
    const ours = readlinkSync('/proc/self/ns/net');
    await until('a network namespace', () => readlinkSync(`/proc/${holder.pid}/ns/net`) !== ours);
    await until('its sleeper', () => readFileSync(`/proc/${holder.pid}/comm`, 'utf8').trim() === 'sleep');
  }

  #pid = (place: Place): string => String(this.#holders.get(place)?.pid);

  #spawn(
    place: Place,
    program: string,
    args: readonly string[],
    input: 'ignore' | 'pipe' = 'ignore',
  ): ChildProcess {
    const child = spawn('nsenter', ['-t', this.#pid(place), '-n', program, ...args], {
      cwd: this.folder,
      stdio: [input, 'pipe', 'pipe'],
      env: plainEnvironment(),
    });
    this.#children.push(child);
    return child;
  }

  /** What a program prints; throws where it fails. */
  async run(place: Place, program: string, ...args: readonly string[]): Promise<string> {
    const child = this.#spawn(place, program, args);
    const { stdout, stderr } = child;
    if (stdout === null || stderr === null) throw new Error('no output');
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
    const [said, complained, status] = await Promise.all([text(stdout), text(stderr), ended]);
    if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${said}${complained}`);
    return said;
  }

  async sh(place: Place, script: string, ...args: readonly string[]): Promise<string> {
    return this.run(place, 'sh', '-euc', script, 'sh', ...args);
  }

  async #wire(): Promise<void> {
    for (const place of ['client', 'gateway', 'device'] as const) await this.sh(place, TRIES_OFTEN);
    await this.sh('gateway', WIRES, this.#pid('client'), this.#pid('device'));
    const end =
      'ip link set lo up; ip link set $1 up; ip addr add $2 dev $1; ip -6 addr add $3 dev $1 nodad; ip route add default via $4; ip -6 route add default via $5';
    await this.sh('client', end, 'client0', `${CLIENT[4]}/24`, `${CLIENT[6]}/64`, '10.20.40.1', 'fd00:40::1');
    await this.sh('device', end, 'device0', `${DEVICE[4]}/24`, `${DEVICE[6]}/64`, '10.20.10.1', 'fd00:10::1');
  }

  async #serve(host: string): Promise<void> {
    const lines: string[] = [];
    const child = this.#spawn('device', PYTHON, [PEERS, 'serve', host, '502']);
    child.stdout?.on('data', (chunk: Buffer) => {
      lines.push(...chunk.toString().split('\n'));
      const requests = chunk
        .toString()
        .split('\n')
        .filter((line) => /^(write|read)/.test(line));
      this.asked += requests.length;
      this.#lines.push(...requests);
      this.writes.push(...requests.filter((line) => line.startsWith('write')));
    });
    await until('the device', () => lines.includes('ready'));
  }

  /** Runs the guard of a file until the test ends, or the function that comes back is called. */
  async guard(
    file = 'gateway.yaml',
  ): Promise<{ readonly told: string[]; readonly stop: () => Promise<void> }> {
    const told: string[] = [];
    const child = this.#spawn('gateway', process.execPath, [
      join(HERE, 'guard-child.ts'),
      join(this.folder, file),
    ]);
    child.stdout?.on('data', (chunk: Buffer) => told.push(...chunk.toString().split('\n').filter(Boolean)));
    child.stderr?.on('data', (chunk: Buffer) => told.push(chunk.toString()));
    await until(
      'its listeners',
      async () => (await this.run('gateway', 'ss', '-Hltn')).includes(':2'),
      120_000,
    );
    const stop = async (): Promise<void> => {
      const ended = new Promise((resolve) => child.once('close', resolve));
      child.kill('SIGTERM');
      await ended;
    };
    return { told, stop };
  }

  /** A client that reads over one connection all the time. */
  living(host: string): LivingClient {
    return new LivingClient(this.#spawn('client', PYTHON, [PEERS, 'living', host, '502'], 'pipe'));
  }

  /** What came back, attack by attack. */
  async attack(host: string, ...names: readonly string[]): Promise<string> {
    return this.run('client', PYTHON, PEERS, 'attack', host, '502', ...names);
  }

  /** Whatever was sent to these devices has arrived, or does not any more: a read behind it, by the same way, has. */
  async marker(...hosts: readonly string[]): Promise<void> {
    for (const host of hosts) {
      const unit = FIRST_MARKER + this.#markers;
      this.#markers += 1;
      await this.run('client', PYTHON, PEERS, 'marker', host, '502', String(unit));
      const read = `read ${unit.toString(16)}03`;
      await until('the read behind it', () => this.#lines.some((line) => line.startsWith(read)));
    }
  }

  async peer(command: string, host: string): Promise<string> {
    return this.run('client', PYTHON, PEERS, command, host, '502');
  }
}

export class LivingClient {
  readonly #child: ChildProcess;
  readonly #said: string[] = [];

  constructor(child: ChildProcess) {
    this.#child = child;
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (chunk: Buffer) => this.#said.push(...chunk.toString().split('\n').filter(Boolean)));
  }

  /** Answers like this one so far. Throws where its connection has ended: it never opens a second one. */
  count(like: RegExp): number {
    if (this.#child.exitCode !== null)
      throw new Error(`the client ended: ${this.#said.slice(-3).join('\n')}`);
    return this.#said.filter((line) => like.test(line)).length;
  }

  /** Waits for so many more of them. */
  async more(like: RegExp, wanted = 5): Promise<void> {
    const before = this.count(like);
    await until(`${wanted} more of ${like}`, () => this.count(like) >= before + wanted, 120_000);
  }

  write(): void {
    this.#child.stdin?.write('write\n');
  }
}

/** What is cut off is tried again each time after as long, not after twice as long: nobody waits for it afterwards. */
const TRIES_OFTEN = 'sysctl -qw net.ipv4.tcp_thin_linear_timeouts=1';

const WIRES = `
ip link set lo up; sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
ip link add vlan40 type veth peer name client0; ip link add vlan10 type veth peer name device0
ip link set client0 netns "$1"; ip link set device0 netns "$2"
ip addr add 10.20.40.1/24 dev vlan40; ip -6 addr add fd00:40::1/64 dev vlan40 nodad
ip addr add 10.20.10.1/24 dev vlan10; ip -6 addr add fd00:10::1/64 dev vlan10 nodad
ip link set vlan40 up; ip link set vlan10 up`;
