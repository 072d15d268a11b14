import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createInterface, type Interface } from 'node:readline';
import { noRules } from './namespace.ts';
import { missingPeer } from './peer.ts';
import { REPOSITORY } from './process.ts';

/** Behind one interface of the gateway: a host with these addresses, and the addresses of the gateway there. Hosts of one interface share a switch. */
export interface TwinHost {
  readonly name: string;
  readonly interface: string;
  readonly addresses: readonly string[];
  readonly gateway: readonly string[];
  /** Addresses of others that it lies with. */
  readonly foreign?: readonly string[];
}

export interface TwinProbe {
  readonly from: string;
  readonly source: string;
  readonly to: string;
  readonly target: string;
  readonly protocol: 'tcp' | 'udp' | 'icmp';
  readonly port: number;
  readonly expected: boolean;
  /** Bytes of what is asked over UDP. */
  readonly size?: number;
}

/** Root of this machine, or of a user namespace of its own. */
const UNSHARE = process.getuid?.() === 0 ? ['-n', '-m'] : ['-r', '-n', '-m'];

/** Why there is no twin here; false where there can be one. */
export function noTwin(): string | false {
  const reason = noRules() || missingPeer('ip', 'iproute2') || missingPeer('/usr/bin/python3', 'python3');
  if (reason !== false) return reason;
  const needs = `mount -t tmpfs tmpfs /run; mkdir /run/netns; ip netns add other
    ip link add here type veth peer name there netns other; echo 1 >/proc/sys/net/ipv4/ip_forward
    nft add table inet a; nft add chain inet a b '{ type filter hook input priority 0; }'
    nft add rule inet a b ct state established accept`;
  const { status, stderr } = spawnSync('unshare', [...UNSHARE, 'sh', '-euc', needs], { encoding: 'utf8' });
  return status === 0 ? false : `no twin of a plant here: ${stderr.trim()}`;
}

/** A plant in network namespaces of one process: when that ends, nothing is left. */
export class PlantTwin implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #lines: Interface;

  constructor() {
    const script = `${REPOSITORY}test/support/plant_twin.py`;
    const child = spawn('unshare', [...UNSHARE, '/usr/bin/python3', script], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#child = child;
    this.#lines = createInterface({ input: child.stdout });
  }

  async build(hosts: readonly TwinHost[]): Promise<void> {
    await this.#do({ do: 'build', hosts });
  }

  /** Loads JSON for nft into the gateway. */
  async load(path: string): Promise<void> {
    await this.#do({ do: 'load', rules: path });
  }

  /** Which of the probes arrive and are answered; waits for those that are expected, and for a denial of all others. */
  async probe(probes: readonly TwinProbe[], options: { noise?: boolean } = {}): Promise<boolean[]> {
    const arrived = await this.#do({ do: 'probe', probes, ...options });
    if (!Array.isArray(arrived)) throw new Error('the twin does not answer');
    return arrived.map((one) => one === true);
  }

  /** Opens a connection that stays. */
  async open(probe: TwinProbe): Promise<boolean> {
    return (await this.#do({ do: 'open', probe })) === true;
  }

  /** A word each way on the connection that stays. */
  async talk(): Promise<boolean> {
    return (await this.#do({ do: 'talk' })) === true;
  }

  async nft(...args: readonly string[]): Promise<void> {
    await this.#do({ do: 'nft', arguments: args });
  }

  async counters(): Promise<ReadonlyMap<string, number>> {
    const counted = await this.#do({ do: 'counters' });
    return new Map(Object.entries(counted ?? {}).map(([name, packets]) => [name, Number(packets)]));
  }

  /** Prefixes of what the rules logged since the last time. */
  async logged(): Promise<string[]> {
    const prefixes = await this.#do({ do: 'logged' });
    return Array.isArray(prefixes) ? prefixes.map(String) : [];
  }

  async #do(command: object): Promise<unknown> {
    const answered = once(this.#lines, 'line').then(([line]: unknown[]) => String(line));
    this.#child.stdin?.write(`${JSON.stringify(command)}\n`);
    const ended = once(this.#child, 'exit').then((): never => {
      throw new Error('the twin ended');
    });
    const line = await Promise.race([answered, ended]);
    const answer: unknown = JSON.parse(line);
    if (typeof answer !== 'object' || answer === null) throw new Error(`the twin said ${line}`);
    if ('error' in answer) throw new Error(String(answer.error));
    return 'ok' in answer ? answer.ok : undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, 'exit');
    this.#child.stdin?.end();
    this.#child.kill('SIGKILL');
    await gone;
  }
}
