import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { noRules } from './namespace.ts';
import { missingPeer } from './peer.ts';
import { until } from './wait.ts';

export type Place = 'sender' | 'gateway' | 'receiver';
const PLACES: readonly Place[] = ['sender', 'gateway', 'receiver'];

/** Longest life of a bed whose process was killed and could not end it. */
const LIFE_SECONDS = '900';

/** A zone with its hosts: whoever is asked for there is the one namespace at the other end. */
export interface Side {
  /** At the gateway. */
  readonly interface: string;
  readonly subnet: string;
}

export interface Wanted {
  readonly from: Side;
  readonly to: Side;
  /** What is counted where it arrives. */
  readonly ports: readonly number[];
}

/** Why no packets can be sent through a gateway here; false where they can. */
export function noForwarding(): string | false {
  if (process.getuid?.() !== 0) return 'three namespaces that are wired to one another need root';
  return noRules() || missingPeer('gcc', 'gcc') || missingPeer('ip', 'iproute2');
}

/** The sender of packets, compiled for the occasion. */
export function packetSender(folder: string): string {
  const program = join(folder, 'packets');
  const source = new URL('packets.c', import.meta.url).pathname;
  const { status, stderr } = spawnSync('gcc', ['-O2', '-o', program, source], { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return program;
}

/** A sender, a gateway and a receiver in namespaces of their own; every host of a zone is the one at its end. */
export class Forwarding implements AsyncDisposable {
  readonly #holders = new Map<Place, ChildProcess>();
  readonly #children = new Set<ChildProcess>();

  static async make(wanted: Wanted): Promise<Forwarding> {
    const bed = new Forwarding();
    try {
      for (const place of PLACES) await bed.#hold(place);
      await bed.#wire(wanted);
      return bed;
    } catch (error) {
      await bed[Symbol.asyncDispose]();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const all = [...this.#children, ...this.#holders.values()];
    const ended = all.map(async (child) => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const end = new Promise((resolve) => child.once('close', resolve));
      child.kill('SIGKILL');
      await end;
    });
    await Promise.all(ended);
  }

  async #hold(place: Place): Promise<void> {
    const holder = spawn('unshare', ['-n', 'sleep', LIFE_SECONDS], { stdio: 'ignore' });
    this.#holders.set(place, holder);
    const ours = readlinkSync('/proc/self/ns/net');
    await until('a network namespace', () => readlinkSync(`/proc/${holder.pid}/ns/net`) !== ours);
    await until('its sleeper', () => readFileSync(`/proc/${holder.pid}/comm`, 'utf8').trim() === 'sleep');
  }

  /** A program there, which ends with the bed; its standard output is a pipe. */
  start(place: Place, program: string, ...args: readonly string[]): ChildProcess {
    const child = spawn('nsenter', ['-t', String(this.#holders.get(place)?.pid), '-n', program, ...args], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#children.add(child);
    child.once('close', () => this.#children.delete(child));
    return child;
  }

  /** What a program prints; throws where it fails. */
  async run(place: Place, program: string, ...args: readonly string[]): Promise<string> {
    return outputOf(this.start(place, program, ...args));
  }

  async sh(place: Place, script: string, ...args: readonly string[]): Promise<string> {
    return this.run(place, 'sh', '-euc', script, 'sh', ...args);
  }

  /** How many packets came to each of the ports; none of them is answered. */
  async arrived(): Promise<ReadonlyMap<number, number>> {
    const listing = await this.run('receiver', 'nft', 'list', 'counters', 'table', 'netdev', 'arrived');
    const counts = listing.matchAll(/counter port_(\d+) \{\s*packets (\d+)/g);
    return new Map([...counts].map(([, port, packets]) => [Number(port), Number(packets)]));
  }

  async #wire({ from, to, ports }: Wanted): Promise<void> {
    await this.sh('gateway', 'ip link set lo up; sysctl -qw net.ipv4.ip_forward=1');
    for (const [place, side, link] of [
      ['sender', from, '169.254.1'],
      ['receiver', to, '169.254.2'],
    ] as const) {
      const pid = String(this.#holders.get(place)?.pid);
      await this.sh('gateway', AT_GATEWAY, side.interface, pid, side.subnet, link);
      await this.sh(place, AT_END, side.subnet, link);
    }
    const counters = ports.map((port) => `counter port_${port} { }`).join('\n');
    const rules = ports.map((port) => `udp dport ${port} counter name port_${port} drop`).join('\n');
    await this.sh(
      'receiver',
      'printf %s "$1" | nft -f -',
      `table netdev arrived {
        ${counters}
        chain arrived {
          type filter hook ingress device eth0 priority 0; policy accept
          ${rules}
        }
      }`,
    );
  }
}

/** What a program prints; throws where it fails. */
export async function outputOf(child: ChildProcess): Promise<string> {
  const { stdout, stderr } = child;
  if (stdout === null || stderr === null) throw new Error('no output');
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  const [said, complained, status] = await Promise.all([text(stdout), text(stderr), ended]);
  if (status !== 0) throw new Error(`${child.spawnargs.join(' ')}: ${said}${complained}`);
  return said;
}

/** One neighbour at the end of a link of its own, whatever the number of hosts. */
const AT_GATEWAY = `
ip link add "$1" type veth peer name eth0 netns "$2"
ip address add "$4.1/30" dev "$1"; ip link set "$1" up
ip route add "$3" via "$4.2" dev "$1"`;

const AT_END = `
ip link set lo up; ip address add "$2.2/30" dev eth0; ip link set eth0 up
ip route add local "$1" dev lo; ip route add default via "$2.1"`;
