import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { missingPeer } from '../support/peer.ts';
import type { Certificate } from '../support/certificates.ts';
import { accepts, freeTcpPort } from '../support/ports.ts';
import { Running } from '../support/process.ts';
import { until } from '../support/wait.ts';

export const noMosquitto =
  missingPeer('mosquitto', 'mosquitto') || missingPeer('mosquitto_sub', 'mosquitto-clients');

export interface Mosquitto {
  readonly port: number;
  readonly process: Running;
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** Mosquitto with mutual TLS; users are the names in certificates, `acl` says what they may. */
export async function mosquitto(
  folder: string,
  server: Certificate,
  { acl, more = '' }: { readonly acl: string; readonly more?: string },
): Promise<Mosquitto> {
  const port = await freeTcpPort();
  writeFileSync(join(folder, 'acl'), acl, { mode: 0o600 });
  const file = join(folder, 'mosquitto.conf');
  writeFileSync(
    file,
    `listener ${port} 127.0.0.1
cafile ${server.caFile}
certfile ${server.certFile}
keyfile ${server.keyFile}
require_certificate true
use_identity_as_username true
allow_anonymous false
acl_file ${join(folder, 'acl')}
${process.getuid?.() === 0 ? 'user root' : ''}
max_queued_messages 0
persistence true
persistence_location ${folder}/
${more}
`,
  );
  let running = new Running('mosquitto', ['-c', file]);
  const broker = {
    port,
    get process() {
      return running;
    },
    start: async () => {
      if (running.over !== undefined) running = new Running('mosquitto', ['-c', file]);
      await until('mosquitto listens', async () => listens(port, running));
    },
    stop: async () => {
      await running.stop();
    },
  };
  await broker.start();
  return broker;
}

async function listens(port: number, running: Running): Promise<boolean> {
  if (running.over !== undefined) throw new Error(`mosquitto ended: ${running.err.join('\n')}`);
  return accepts(port);
}

/** What every mosquitto client needs to be told. */
export function clientArgs(port: number, who: Certificate): string[] {
  const { caFile, certFile, keyFile } = who;
  return ['-h', '127.0.0.1', '-p', `${port}`, '--cafile', caFile, '--cert', certFile, '--key', keyFile];
}

/** `mosquitto_sub -v` with QoS 1; `more` comes last. */
export function subscribe(port: number, who: Certificate, filter: string, ...more: string[]): Running {
  return new Running('mosquitto_sub', [...clientArgs(port, who), '-v', '-q', '1', '-t', filter, ...more]);
}

/** `mosquitto_pub` with QoS 1; its exit status. */
export async function publish(
  port: number,
  who: Certificate,
  topic: string,
  payload: string,
  ...more: string[]
): Promise<{ readonly status: number | string; readonly says: string }> {
  const args = [...clientArgs(port, who), '-q', '1', '-t', topic, '-m', payload, ...more];
  const running = new Running('mosquitto_pub', args);
  const status = await running.ended;
  return { status, says: running.err.join('\n') };
}

/** The numbers of `{"seq":n}` payloads, in order of arrival. */
export function seqs(lines: readonly string[], kind = /./): number[] {
  return lines.flatMap((line) => {
    const seq = /"seq":(\d+)/.exec(line)?.[1];
    return seq === undefined || !kind.test(line) ? [] : [Number(seq)];
  });
}

export function distinct(numbers: readonly number[]): number[] {
  return [...new Set(numbers)].sort((a, b) => a - b);
}

export function upTo(last: number, first = 1): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}
