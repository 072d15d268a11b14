import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { missingPeer } from '../support/peer.ts';
import { accepts, freeTcpPort } from '../support/ports.ts';
import { until } from '../support/wait.ts';
import { Child } from './child.ts';

const run = promisify(execFile);

/**
 * Mosquitto as the upstream: mutual TLS for whoever publishes. The recorder reads from a second, plain listener on
 * loopback, so that the measuring itself costs the machine as little as possible.
 */
export class Mosquitto implements AsyncDisposable {
  readonly url: string;
  /** The authority that the server's certificate comes from. */
  readonly ca: string;
  readonly plainPort: number;
  #dir: string;
  #port: number;
  #child: Child | undefined;

  private constructor(dir: string, port: number, plainPort: number) {
    this.#dir = dir;
    this.#port = port;
    this.plainPort = plainPort;
    this.url = `mqtts://127.0.0.1:${port}`;
    this.ca = join(dir, 'server-ca.pem');
  }

  /** Makes the server's keys below `dir`; nothing runs yet. */
  static async prepare(dir: string): Promise<Mosquitto> {
    const missing = missingPeer('mosquitto', 'mosquitto');
    if (missing !== false) throw new Error(missing);
    mkdirSync(dir);
    await makeServerCertificate(dir);
    return new Mosquitto(dir, await freeTcpPort(), await freeTcpPort());
  }

  /** Only clients whose certificate this authority signed may publish. */
  trust(clientCa: string): void {
    writeFileSync(this.#file, this.#configuration(clientCa));
  }

  /** Starts with what the last run left: sessions and their queues are kept. */
  async start(): Promise<void> {
    const file = this.#file;
    this.#child = new Child({ name: 'mosquitto', command: 'mosquitto', args: ['-c', file] });
    await until('mosquitto listens', () => {
      this.#child?.mustRun();
      return accepts(this.plainPort); // the last of its listeners
    });
  }

  async stop(): Promise<void> {
    await this.#child?.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  get #file(): string {
    return join(this.#dir, 'mosquitto.conf');
  }

  #configuration(clientCa: string): string {
    // Started as root it would become another user, who cannot read a private temporary directory.
    const user = process.getuid?.() === 0 ? ['user root'] : [];
    return [
      ...user,
      'per_listener_settings true',
      'log_dest stderr',
      'log_type error',
      'log_type warning',
      'persistence true',
      `persistence_location ${this.#dir}/`,
      'autosave_interval 0', // only when it ends: its own disk writes are not what is measured
      'max_queued_messages 0', // no limit: what the recorder did not see must have been lost before
      `listener ${this.#port} 127.0.0.1`,
      `cafile ${clientCa}`,
      `certfile ${join(this.#dir, 'server.pem')}`,
      `keyfile ${join(this.#dir, 'server.key')}`,
      'require_certificate true',
      'use_identity_as_username true',
      'allow_anonymous false',
      `listener ${this.plainPort} 127.0.0.1`,
      'allow_anonymous true',
      '',
    ].join('\n');
  }
}

async function makeServerCertificate(dir: string): Promise<void> {
  await certificate(dir, 'server-ca', ['-subj', '/CN=bench upstream authority']);
  const signer = ['-CA', join(dir, 'server-ca.pem'), '-CAkey', join(dir, 'server-ca.key')];
  const extensions = [
    'subjectAltName=IP:127.0.0.1,DNS:localhost',
    'extendedKeyUsage=serverAuth',
    'basicConstraints=critical,CA:false',
  ].flatMap((extension) => ['-addext', extension]);
  await certificate(dir, 'server', ['-subj', '/CN=localhost', ...signer, ...extensions]);
}

/** `DIR/NAME.pem` and `DIR/NAME.key`. */
async function certificate(dir: string, name: string, options: readonly string[]): Promise<void> {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-noenc', '-days', '2'];
  const files = ['-keyout', join(dir, `${name}.key`), '-out', join(dir, `${name}.pem`)];
  await run('openssl', ['req', '-x509', ...key, ...options, ...files]);
}
