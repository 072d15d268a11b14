import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { REPOSITORY } from '../support/process.ts';
import { until } from '../support/wait.ts';
import { Bed, type Scope } from './bed.ts';

const TALK = join(REPOSITORY, 'test/netd/talk.py');
const PYTHON = '/usr/bin/python3';
/** TCP that was held back tries again after twice as long each time. */
const LONGEST_PAUSE = 200_000;

/** A host of a zone, in a network namespace of its own. */
export class Host {
  readonly pid: number;
  readonly #bed: Bed;
  readonly #t: Scope;

  constructor(t: Scope, bed: Bed, pid: number) {
    this.#t = t;
    this.#bed = bed;
    this.pid = pid;
  }

  #start(...args: readonly string[]): ChildProcess {
    const enter = process.getuid?.() === 0 ? ['-n'] : ['-U', '-n', '--preserve-credentials'];
    const child = spawn('nsenter', ['-t', String(this.pid), ...enter, ...args], {
      cwd: this.#bed.folder,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#t.teardown(() => child.kill('SIGKILL'));
    return child;
  }

  async serves(...ports: readonly number[]): Promise<void> {
    const child = this.#start(PYTHON, TALK, 'serve', ...ports.map(String));
    await new Promise((resolve) => child.stdout?.once('data', resolve));
  }

  /** Numbers go to and fro from now on. */
  talks(protocol: 'tcp' | 'udp', address: string, port: number): Talk {
    const file = join(this.#bed.folder, `${protocol}-${address.replaceAll(':', '.')}-${port}`);
    return new Talk(file, this.#start(PYTHON, TALK, 'ask', protocol, address, String(port), file));
  }
}

export class Talk {
  readonly #file: string;
  readonly #child: ChildProcess;

  constructor(file: string, child: ChildProcess) {
    this.#file = file;
    this.#child = child;
  }

  /** Answers that came, all in their order. */
  get count(): number {
    if (this.#child.exitCode !== null) throw new Error(`a talk ended with ${this.#child.exitCode}`);
    try {
      return Number(readFileSync(this.#file, 'utf8'));
    } catch {
      return 0;
    }
  }

  async goesOn(more = 20, limitMs = LONGEST_PAUSE): Promise<void> {
    const before = this.count;
    await until(`${more} more answers`, () => this.count >= before + more, limitMs);
  }
}

/**
 * A gateway with a host in each of two zones: `asks` in supervision (vlan40), `serves` in control (vlan10), with both
 * families. Ends in .9, the gateway in .1.
 */
export async function hosts(t: Scope): Promise<{ bed: Bed; asks: Host; serves: Host }> {
  const bed = await Bed.make(t);
  const asks = await host(t, bed, 'vlan40', 40);
  const serves = await host(t, bed, 'vlan10', 10);
  await must(bed, 'sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
  return { bed, asks, serves };
}

async function host(t: Scope, bed: Bed, name: string, net: number): Promise<Host> {
  const isRoot = process.getuid?.() === 0;
  const sleeper = isRoot
    ? spawn('unshare', ['-n', 'sleep', '600'], { stdio: 'ignore' })
    : bed.spawn('unshare', '-n', 'sleep', '600');
  t.teardown(() => sleeper.kill('SIGKILL'));
  const pid = sleeper.pid ?? 0;
  const ours = readlinkSync('/proc/self/ns/net');
  await until('a network namespace', () => {
    const its = readlinkSync(`/proc/${pid}/ns/net`);
    return its !== ours && its !== readlinkSync(`/proc/${bed.pid}/ns/net`);
  });
  await until('its sleeper', () => readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'sleep');
  await must(bed, 'ip', 'link', 'add', name, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(pid));
  const script = `
ip link set lo up; ip link set eth0 address 02:00:00:00:${net}:09 up
ip address add 10.20.${net}.9/24 dev eth0; ip address add fd00:${net}::9/64 dev eth0 nodad
ip route add default via 10.20.${net}.1; ip -6 route add default via fd00:${net}::1`;
  await must(bed, 'ip', 'address', 'add', `10.20.${net}.1/24`, 'dev', name);
  await must(bed, 'ip', 'address', 'add', `fd00:${net}::1/64`, 'dev', name, 'nodad');
  await must(bed, 'ip', 'link', 'set', name, 'up');
  await must(bed, 'nsenter', '-t', String(pid), '-n', 'sh', '-euc', script);
  return new Host(t, bed, pid);
}

export async function must(bed: Bed, program: string, ...args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await bed.run(program, ...args);
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr}`);
  return stdout;
}
