import { createSocket, type Socket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { isIPv6 } from 'node:net';
import { errorText, SluiceError } from '../../core/errors.ts';

export interface Peer {
  readonly address: string;
  readonly port: number;
}

/** A socket that was opened; `send` never throws and never waits. */
export interface Datagrams {
  readonly local: Peer;
  send(datagram: Uint8Array, to?: Peer): void;
  close(): Promise<void>;
}

export interface DatagramEvents {
  readonly received: (datagram: Uint8Array, from: Peer) => void;
  /** The network or the other side said no. `fatal`: the socket is of no use any more and should be closed. */
  readonly failed: (error: Error, fatal: boolean) => void;
}

/** The kernel has no room at this moment; retransmission takes care. */
const TRANSIENT = new Set(['ENOBUFS', 'EAGAIN']);
/** Nobody listens there, or nobody is there (ICMP, ARP); the socket stays good, and observations keep their port. */
const ABSENT = new Set(['ECONNREFUSED', 'EHOSTUNREACH', 'EHOSTDOWN']);

/**
 * A socket that speaks with `host:port` alone: the kernel drops what comes from anybody else (RFC 7252, 5.3.2), and
 * says at once when nobody listens there. Throws CONNECTION_LOST.
 */
export async function openClient(host: string, port: number, events: DatagramEvents): Promise<Datagrams> {
  const target = `coap://${host}:${port}`;
  try {
    const { address, family } = await lookup(host);
    const socket = createSocket(family === 6 ? 'udp6' : 'udp4');
    await ready(socket, 'connect', () => socket.connect(port, address));
    const peer = socket.remoteAddress();
    // what arrived between bind and connect was not filtered by the kernel
    const isPeer = (from: Peer): boolean => from.port === peer.port && from.address === peer.address;
    listen(socket, {
      ...events,
      received: (datagram, from) => {
        if (isPeer(from)) events.received(datagram, from);
      },
    });
    return datagrams(socket, events);
  } catch (error) {
    throw new SluiceError('CONNECTION_LOST', `no UDP socket toward ${target}: ${errorText(error)}`, {
      cause: error,
      remedy: 'check the address of the device and the route to it',
    });
  }
}

/** A socket that hears everybody on `host:port`. It joins no multicast group. Throws SETUP. */
export async function openServer(host: string, port: number, events: DatagramEvents): Promise<Datagrams> {
  try {
    const { address, family } = await lookup(host);
    const socket = createSocket({
      type: family === 6 ? 'udp6' : 'udp4',
      ipv6Only: isIPv6(address) && address !== '::',
    });
    await ready(socket, 'listening', () => socket.bind({ port, address, exclusive: true }));
    listen(socket, events);
    return datagrams(socket, events);
  } catch (error) {
    throw new SluiceError('SETUP', `cannot listen for CoAP on ${host}:${port}: ${errorText(error)}`, {
      cause: error,
      remedy: `free the port (ss -ulpn 'sport = :${port}' shows who has it) or change coap.listen`,
    });
  }
}

async function ready(socket: Socket, event: 'connect' | 'listening', start: () => void): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.once(event, resolve);
      start();
    });
  } catch (error) {
    socket.close();
    throw error;
  }
  socket.removeAllListeners('error');
}

function listen(socket: Socket, events: DatagramEvents): void {
  socket.on('message', (datagram, { address, port }) => events.received(datagram, { address, port }));
  socket.on('error', (error) => report(error, events));
}

function report(error: Error, events: DatagramEvents): void {
  const reason = 'code' in error ? String(error.code) : '';
  if (!TRANSIENT.has(reason)) events.failed(error, !ABSENT.has(reason));
}

function datagrams(socket: Socket, events: DatagramEvents): Datagrams {
  let closed = false;
  const sent = (error: Error | null): void => {
    if (error !== null && !closed) report(error, events);
  };
  return {
    local: socket.address(),
    send: (datagram, to) => {
      if (closed) return;
      if (to === undefined) socket.send(datagram, sent);
      else socket.send(datagram, to.port, to.address, sent);
    },
    close: async () => {
      if (closed) return;
      closed = true;
      await new Promise<void>((resolve) => {
        socket.close(resolve);
      });
    },
  };
}
