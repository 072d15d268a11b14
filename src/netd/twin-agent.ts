// A host of a twin of the plant: lives in a network namespace of its own, and ends, and the namespace with it, when whoever
// started it ends. One JSON command a line on standard input, one answer a line on standard output.
import { spawnSync } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { existsSync, writeFileSync } from 'node:fs';
import { createServer, connect, type Server, type Socket as Stream } from 'node:net';
import { createInterface } from 'node:readline';
import { errorText } from '../core/errors.ts';
import { Nft } from './nft.ts';
import { sendTiny } from './twin-fragments.ts';
import { askModbus, serveModbus } from './twin-modbus.ts';

export interface AgentCell {
  readonly id: number;
  readonly protocol: 'tcp' | 'udp' | 'icmp';
  readonly source: string;
  readonly target: string;
  readonly port: number;
  /** 0: any. */
  readonly sourcePort: number;
  readonly size: number;
  /** In the smallest fragments of IPv4. */
  readonly tiny: boolean;
  /** Of Modbus over TCP: unit and PDU, in hex. */
  readonly request?: string;
}

export interface Place {
  readonly protocol: 'tcp' | 'udp' | 'modbus';
  readonly address: string;
  readonly port: number;
}

export type AgentCommand =
  | { readonly do: 'set'; readonly knobs: Readonly<Record<string, string>> }
  | {
      readonly do: 'run';
      readonly program: string;
      readonly args: readonly string[];
      readonly input?: string;
    }
  | { readonly do: 'load'; readonly document: string }
  | { readonly do: 'listen'; readonly places: readonly Place[] }
  | { readonly do: 'send'; readonly cells: readonly AgentCell[] }
  | { readonly do: 'close' };

/** Bytes at the head of a datagram that say which cell it is of. */
const HEAD = 8;

/** All that is open for one batch. */
const servers: (Server | Socket)[] = [];
const streams: Stream[] = [];
const senders = new Map<string, Promise<Socket>>();

const say = (answer: object): void => {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
};

async function act(command: AgentCommand): Promise<string> {
  switch (command.do) {
    case 'set':
      for (const [knob, value] of Object.entries(command.knobs)) {
        // Where br_netfilter is not loaded, there is nothing to switch off.
        const isThere = !knob.startsWith('bridge/') || existsSync('/proc/sys/net/bridge');
        if (isThere) writeFileSync(`/proc/sys/net/${knob}`, value);
      }
      return '';
    case 'run':
      return ran(command.program, command.args, command.input);
    case 'load': {
      const failed = await new Nft().load(command.document);
      if (failed !== undefined) throw failed;
      return '';
    }
    case 'listen':
      await Promise.all(command.places.map(listen));
      return '';
    case 'send':
      await Promise.all(command.cells.map(send));
      return '';
    case 'close':
      await close();
      return '';
    default:
      return command satisfies never;
  }
}

function ran(program: string, args: readonly string[], input = ''): string {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    input,
    encoding: 'utf8',
    maxBuffer: 64e6,
  });
  if (error !== undefined) throw error;
  if (status !== 0)
    throw new Error(`${program} ${args.join(' ').slice(0, 60)}: ${stderr.trim().slice(0, 300)}`);
  return stdout;
}

async function listen({ protocol, address, port }: Place): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    if (protocol !== 'udp') {
      const server = createServer((stream) => {
        stream.on('error', () => {});
        streams.push(stream);
        if (protocol === 'modbus') serveModbus(stream);
      });
      server.once('error', (error: NodeJS.ErrnoException) => {
        // The guard has it, and answers as well.
        if (error.code === 'EADDRINUSE') resolve();
        else reject(error);
      });
      server.listen(port, address, () => {
        servers.push(server);
        resolve();
      });
      return;
    }
    const server = createSocket({ type: address.includes(':') ? 'udp6' : 'udp4', reuseAddr: true });
    server.on('message', (message, { address: to, port: at }) =>
      server.send(message.subarray(0, HEAD), at, to, () => {}),
    );
    servers.push(server);
    server.once('error', reject).bind(port, address, resolve);
  });
}

async function send(cell: AgentCell): Promise<void> {
  const { id, protocol, source, target, port, sourcePort, size, tiny, request } = cell;
  if (protocol === 'tcp') {
    const stream = connect({
      host: target,
      port,
      localAddress: source,
      ...(sourcePort > 0 && { localPort: sourcePort }),
    });
    streams.push(stream);
    stream.on('error', () => {}); // a rule of the sender itself said no, or nobody is there
    if (request === undefined) stream.once('connect', () => say({ answered: id }));
    else askModbus(stream, Buffer.from(request, 'hex'), (how) => say({ [how]: id }));
    await new Promise<void>((resolve) => setImmediate(resolve));
    return;
  }
  // The first two bytes of a datagram, its source port, become the type of an echo request: see twin.ts.
  const own = protocol === 'icmp' ? (target.includes(':') ? 32_768 : 2_048) : sourcePort;
  const socket = await senderOf(source, own);
  const message = Buffer.alloc(size);
  message.writeUInt32BE(id);
  if (tiny) {
    sendTiny({ id, source, target, sourcePort: socket.address().port, port, message });
    return;
  }
  await new Promise<void>((resolve) => socket.send(message, port, target, () => resolve()));
}

async function senderOf(source: string, port: number): Promise<Socket> {
  const key = `${source} ${port}`;
  const known = senders.get(key);
  if (known !== undefined) return known;
  const made = new Promise<Socket>((resolve, reject) => {
    const socket = createSocket({ type: source.includes(':') ? 'udp6' : 'udp4', reuseAddr: true });
    socket.on('message', (message) => {
      if (message.length >= HEAD) say({ answered: message.readUInt32BE() });
    });
    socket.once('error', reject).bind(port, source, () => resolve(socket));
  });
  senders.set(key, made);
  return made;
}

async function close(): Promise<void> {
  for (const stream of streams.splice(0)) stream.destroy();
  for (const socket of await Promise.all(senders.values())) socket.close();
  senders.clear();
  await Promise.all(
    servers.splice(0).map(async (server) => new Promise<void>((resolve) => server.close(() => resolve()))),
  );
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {}); // Ctrl-C is for whoever started us
createInterface({ input: process.stdin })
  .on('line', (line) => {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- twin.ts writes these lines, and nobody else can
    const command = JSON.parse(line) as AgentCommand;
    act(command).then(
      (text) => say({ done: text }),
      (error: unknown) => say({ failed: errorText(error) }),
    );
  })
  .on('close', () => process.exit(0));
say({ done: 'ready' });
