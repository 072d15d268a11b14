import { constants } from 'node:crypto';
import type { Socket } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import type { Listen } from '../config/config.ts';
import type { Clock } from '../core/clock.ts';
import { errorText, SluiceError } from '../core/errors.ts';
import { type Bytes, type EpochMs, epochMs } from '../core/units.ts';
import { guardPacketSize } from './guard.ts';
import { Handshakes, MAX_HANDSHAKES } from './handshakes.ts';
import { type ClientIdentity, clientIdentity } from './rights.ts';
import { errorCode, TLS_OPTIONS, type TlsIdentity } from './tls.ts';

/** With a certificate; those that are still to show one are counted apart. */
const MAX_CONNECTIONS = 128;
/** A new connection may overlap with the old one. More than a few of one name would take the places of others. */
const MAX_PER_NAME = 4;
/** A resumed or renegotiated session would not be asked for its certificate as a new one is. */
const SECURE_OPTIONS = constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION;

export interface Arrival {
  readonly socket: TLSSocket;
  readonly identity: ClientIdentity;
  /** End of the certificate's life. */
  readonly notAfter: EpochMs;
  /** Longest packet that is let through from now on. */
  readonly limitPackets: (limit: Bytes) => void;
}

export interface ListenerOptions {
  readonly identity: TlsIdentity;
  readonly clock: Clock;
  /** A client with a valid certificate; it has sent nothing yet. */
  readonly onArrival: (arrival: Arrival) => void;
  /** Somebody was turned away; `kind` tells apart what is worth one log line each. */
  readonly onRefusal: (kind: string, why: string, remedy: string) => void;
}

/** Mutual TLS: nobody gets further without a certificate of our CA. */
export class TlsListener {
  readonly #server: Server;
  readonly #sockets = new Set<TLSSocket>();
  readonly #byName = new Map<string, Set<TLSSocket>>();
  readonly #handshakes: Handshakes;

  constructor({ identity, clock, onArrival, onRefusal }: ListenerOptions) {
    const look = 'look for who keeps connecting';
    const tooMany = (): void => onRefusal('too many', `more than ${MAX_CONNECTIONS} connections`, look);
    this.#handshakes = new Handshakes(clock, (kind) => {
      if (kind === 'late') onRefusal(kind, 'a client did not finish its TLS handshake', 'look at the client');
      else onRefusal(kind, `more than ${MAX_HANDSHAKES} TLS handshakes at a time`, look);
    });
    this.#server = createServer({
      ...identity,
      ...TLS_OPTIONS,
      requestCert: true,
      rejectUnauthorized: true,
      secureOptions: SECURE_OPTIONS,
    });
    this.#server.maxConnections = MAX_CONNECTIONS + MAX_HANDSHAKES + 1; // the one for which another makes room
    this.#server.on('connection', (socket: Socket) => this.#handshakes.begin(socket));
    this.#server.on('secureConnection', (socket) => {
      this.#handshakes.finished(socket);
      socket.on('error', () => {}); // the close that follows is what counts
      if (this.#sockets.size >= MAX_CONNECTIONS) {
        tooMany();
        socket.destroy();
        return;
      }
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
      const certificate = socket.getPeerCertificate();
      const client = clientIdentity(certificate);
      if (!socket.authorized || typeof client === 'string') {
        const why = typeof client === 'string' ? client : 'its certificate was not verified';
        onRefusal(`name ${why}`, why, 'issue a certificate with ./sluice credentials issue NAME --out DIR');
        socket.destroy();
        return;
      }
      this.#makeRoom(client.name, socket);
      socket.setNoDelay(true);
      const notAfter = epochMs(Date.parse(certificate.valid_to));
      const limitPackets = guardPacketSize(socket, (limit) =>
        onRefusal(
          `size ${client.name}`,
          `${client.name} sends a packet of more than ${limit} bytes`,
          'look at this client',
        ),
      );
      onArrival({ socket, identity: client, notAfter, limitPackets });
    });
    this.#server.on('tlsClientError', (error, socket) => {
      const { why, remedy, detail = '' } = handshakeProblem(error, socket.authorizationError);
      // What OpenSSL adds varies without end, and each kind is a line in the log.
      onRefusal(`handshake ${why}`, why + detail, remedy);
      socket.destroy(); // Node leaves that to us
    });
    this.#server.on('drop', tooMany);
  }

  /** Port that it listens on; throws SETUP where it cannot. */
  async listen({ host, port }: Listen): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (error) => reject(listenProblem(error, host, port)));
      this.#server.listen(port, host, resolve);
    });
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : port;
  }

  renewIdentity(identity: TlsIdentity): void {
    this.#server.setSecureContext({
      ...identity,
      ...TLS_OPTIONS,
      secureOptions: SECURE_OPTIONS,
    });
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    this.#handshakes.close();
    await closed;
  }

  /** The oldest connection of a name goes when there are too many: a client that lost them all must get in again. */
  #makeRoom(name: string, socket: TLSSocket): void {
    const own = this.#byName.get(name) ?? new Set<TLSSocket>();
    this.#byName.set(name, own.add(socket));
    socket.once('close', () => {
      own.delete(socket);
      if (own.size === 0 && this.#byName.get(name) === own) this.#byName.delete(name);
    });
    const [oldest] = own;
    if (own.size > MAX_PER_NAME) oldest?.destroy();
  }
}

function listenProblem(error: unknown, host: string, port: number): SluiceError {
  const where = `${host}:${port}`;
  switch (errorCode(error)) {
    case 'EADDRINUSE':
      return new SluiceError('SETUP', `the broker cannot listen on ${where}: the port is in use`, {
        remedy: `end the other program (ss -ltnp shows it), or change mqtt.embedded.listen`,
        cause: error,
      });
    case 'EACCES':
      return new SluiceError('SETUP', `the broker may not listen on ${where}`, {
        remedy: 'use a port from 1024 on in mqtt.embedded.listen',
        cause: error,
      });
    case 'EADDRNOTAVAIL':
      return new SluiceError(
        'SETUP',
        `the broker cannot listen on ${where}: this machine has no such address`,
        {
          remedy: 'use an address of this machine in mqtt.embedded.listen',
          cause: error,
        },
      );
    default:
      return new SluiceError('SETUP', `the broker cannot listen on ${where}: ${errorText(error)}`, {
        remedy: 'correct mqtt.embedded.listen',
        cause: error,
      });
  }
}

/** `verification` is why a certificate was not accepted; the handshake itself then ends with a bare reset. */
function handshakeProblem(
  error: unknown,
  verification: unknown,
): { readonly why: string; readonly remedy: string; readonly detail?: string } {
  const issue = 'use a certificate from ./sluice credentials issue NAME --out DIR';
  const expired = { why: "a client's certificate has expired", remedy: issue };
  if (verification === 'CERT_HAS_EXPIRED') return expired;
  if (verification) return { why: "a client's certificate is not of this gateway's CA", remedy: issue };
  switch (errorCode(error)) {
    case 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE':
      return { why: 'a client showed no certificate', remedy: issue };
    case 'ERR_SSL_TLSV1_ALERT_UNKNOWN_CA':
      return { why: "a client does not trust this gateway's CA", remedy: 'give it ca.pem of this gateway' };
    case 'ERR_SSL_HTTP_REQUEST':
    case 'ERR_SSL_WRONG_VERSION_NUMBER':
      return { why: 'a client does not speak TLS here', remedy: 'connect with mqtts' };
    default:
      return {
        why: `a TLS handshake failed (${errorCode(error)})`,
        remedy: 'look at the client',
        detail: `: ${errorText(error).trim()}`,
      };
  }
}
