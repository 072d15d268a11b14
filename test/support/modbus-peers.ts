import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ByteOrder, ModbusType } from '../../src/config/config.ts';
import { missingPeer } from './peer.ts';
import { freeTcpPort } from './ports.ts';
import { Running } from './process.ts';

const HERE = new URL('.', import.meta.url).pathname;
/** The interpreter that Debian's python3-pymodbus belongs to, whatever `python3` is on the path. */
const PYTHON = '/usr/bin/python3';

/** A slave in a process of its own. */
export interface Peer {
  readonly port: number;
  readonly process: Running;
  readonly stop: () => Promise<void>;
}

function missingAfter(command: string, args: readonly string[], says: string): string | false {
  if (spawnSync(command, args).status === 0) return false;
  if (process.env['CI'] === 'true') throw new Error(says);
  return says;
}

export function missingLibmodbus(): string | false {
  const says = 'libmodbus or gcc is missing; install them with: apt-get install libmodbus-dev gcc pkg-config';
  return missingPeer('gcc', 'gcc') || missingAfter('pkg-config', ['--exists', 'libmodbus'], says);
}

export function missingPymodbus(): string | false {
  const says = 'pymodbus is missing; install it with: apt-get install python3-pymodbus';
  return missingAfter(PYTHON, ['-c', 'import pymodbus'], says);
}

/** A libmodbus slave, compiled for the occasion. */
export async function libmodbusSlave(): Promise<Peer> {
  const folder = mkdtempSync(join(tmpdir(), 'libmodbus-'));
  const program = join(folder, 'slave');
  const flags = spawnSync('pkg-config', ['--cflags', '--libs', 'libmodbus'], { encoding: 'utf8' });
  const built = spawnSync(
    'gcc',
    [join(HERE, 'libmodbus-server.c'), '-o', program, ...flags.stdout.trim().split(/\s+/)],
    { encoding: 'utf8' },
  );
  if (built.status !== 0) throw new Error(built.stderr);
  const port = await freeTcpPort();
  const process = new Running(program, [String(port)]);
  await process.says(/^ready/);
  return {
    port,
    process,
    stop: async () => {
      await process.stop();
      rmSync(folder, { recursive: true });
    },
  };
}

/** A value that the slave of pymodbus holds, as pymodbus laid it out. */
export interface Laid {
  readonly address: number;
  readonly type: ModbusType;
  readonly order: ByteOrder;
  readonly value: string;
}

const TYPES: readonly ModbusType[] = [
  'int16',
  'uint16',
  'int32',
  'uint32',
  'int64',
  'uint64',
  'float32',
  'float64',
  'string',
];
const ORDERS: readonly ByteOrder[] = ['ABCD', 'CDAB', 'BADC', 'DCBA'];

function laidOut(json: unknown): readonly Laid[] {
  if (!Array.isArray(json)) throw new Error('pymodbus told no layout');
  return json.map((row: Readonly<Record<string, unknown>>) => {
    const type = TYPES.find((known) => known === row['type']);
    const order = ORDERS.find((known) => known === row['order']);
    if (type === undefined || order === undefined) throw new Error(`unknown row ${JSON.stringify(row)}`);
    return { address: Number(row['address']), type, order, value: String(row['value']) };
  });
}

interface PymodbusSlave extends Peer {
  readonly layout: readonly Laid[];
}

/** A slave of pymodbus; `rtu` frames it for a serial line instead of MBAP. Units 1 and 2 exist. */
export async function pymodbusSlave(framing: 'mbap' | 'rtu'): Promise<PymodbusSlave> {
  const port = await freeTcpPort();
  const process = new Running(PYTHON, [join(HERE, 'pymodbus-peer.py'), 'slave', String(port), framing]);
  const line = await process.says(/^layout /);
  const layout = laidOut(JSON.parse(line.slice('layout '.length)));
  return { port, process, layout, stop: async () => void (await process.stop('SIGKILL')) };
}

/** Reads a holding value with the master of pymodbus. */
export function pymodbusRead(port: number, address: number, type: string, order: string): string {
  const args = [join(HERE, 'pymodbus-peer.py'), 'read', String(port), String(address), type, order];
  const { stdout, stderr, status } = spawnSync(PYTHON, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return stdout.trim();
}

/** Runs mbpoll against a slave on 127.0.0.1; addresses are those on the wire (`-0`). */
export function mbpoll(
  port: number,
  args: readonly string[],
  values: readonly (number | string)[] = [],
): string {
  const all = ['-m', 'tcp', '-p', String(port), '-0', '-1', ...args, '127.0.0.1'];
  const written = values.length > 0 ? ['--', ...values.map(String)] : [];
  const { stdout, stderr, status } = spawnSync('mbpoll', [...all, ...written], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`mbpoll ${args.join(' ')}: ${stderr}${stdout}`);
  return stdout;
}

/** Values that mbpoll printed, as `[100]: 	11`. */
export function mbpollValues(output: string): readonly string[] {
  return [...output.matchAll(/^\[\d+\]:\s*(\S+)/gm)].map(([, value]) => value ?? '');
}
