import { type ChildProcess, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { until } from '../support/wait.ts';

export const SERVER = 'coap-server-notls';
export const CLIENT = 'coap-client-notls';
export const PACKAGE = 'libcoap3-bin';

/** libcoap's example server on 127.0.0.1; ready when it answers a ping. `stop` ends it by its handle. */
export async function libcoapServer(
  port: number,
  ...options: string[]
): Promise<{ readonly stop: () => Promise<void> }> {
  const child = spawn(SERVER, ['-A', '127.0.0.1', '-p', String(port), ...options], { stdio: 'ignore' });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  await until(`libcoap on ${port}`, () => ping(port));
  return {
    stop: async () => {
      child.kill();
      await ended;
    },
  };
}

async function ping(port: number): Promise<boolean> {
  const socket = createSocket('udp4');
  try {
    return await new Promise<boolean>((resolve) => {
      socket.once('message', () => resolve(true));
      socket.once('error', () => resolve(false));
      socket.connect(port, '127.0.0.1', () => socket.send(Buffer.from([0x40, 0, 0x12, 0x34])));
      setTimeout(() => resolve(false), 200);
    });
  } finally {
    socket.close();
  }
}

export interface Said {
  readonly status: number | null;
  /** Standard output and error together: the exit status is 0 also for 5.00. */
  readonly text: string;
}

export async function libcoapClient(...options: string[]): Promise<Said> {
  const child: ChildProcess = spawn(CLIENT, options, { stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  child.stdout?.on('data', (chunk) => (text += String(chunk)));
  child.stderr?.on('data', (chunk) => (text += String(chunk)));
  return new Promise((resolve) => child.once('close', (status) => resolve({ status, text })));
}
