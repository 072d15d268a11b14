import { constants } from 'node:crypto';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import type { Listen } from '../config/config.ts';
import { errorText, SluiceError } from '../core/errors.ts';
import type { Bytes, Duration } from '../core/units.ts';
import { seconds } from '../core/units.ts';
import { guardPacketSize } from './guard.ts';
import { type ClientIdentity, clientIdentity } from './rights.ts';
import { errorCode, TLS_OPTIONS, type TlsIdentity } from './tls.ts';

/** Sockets, whatever became of their handshake. */
export const MAX_CONNECTIONS = 128;
const HANDSHAKE_WITHIN: Duration = seconds(10);

export interface Arrival {
  readonly socket: TLSSocket;
  readonly identity: ClientIdentity;
  /** Longest packet that is let through from now on. */
  readonly limitPackets: (limit: Bytes) => void;
}

export interface ListenerOptions {
  readonly identity: TlsIdentity;
  /** A client with a valid certificate; it has sent nothing yet. */
  readonly onArrival: (arrival: Arrival) => void;
  /** Somebody was turned away; `kind` tells apart what is worth one log line each. */
  readonly onRefusal: (kind: string, why: string, remedy: string) => void;
}

/**
 * Mutual TLS: nobody gets further without a certificate of our CA. No session tickets, because a resumed session is
 * not asked for its certificate again.
 */
export class TlsListener {
  readonly #server: Server;
  readonly #sockets = new Set<TLSSocket>();

  constructor({ identity, onArrival, onRefusal }: ListenerOptions) {
    this.#server = createServer({
      ...identity,
      ...TLS_OPTIONS,
      requestCert: true,
      rejectUnauthorized: true,
      secureOptions: constants.SSL_OP_NO_TICKET,
      handshakeTimeout: HANDSHAKE_WITHIN,
    });
    this.#server.maxConnections = MAX_CONNECTIONS;
    this.#server.on('secureConnection', (socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
      socket.on('error', () => {}); // the close that follows is what counts
      const client = clientIdentity(socket.getPeerCertificate());
      if (!socket.authorized || typeof client === 'string') {
        const why = typeof client === 'string' ? client : 'its certificate was not verified';
        onRefusal(`name ${why}`, why, 'issue a certificate with ./sluice credentials issue NAME --out DIR');
        socket.destroy();
        return;
      }
      socket.setNoDelay(true);
      const limitPackets = guardPacketSize(socket, (size) =>
        onRefusal(
          `size ${client.name}`,
          `${client.name} announced a packet of ${size} bytes`,
          'look at this client',
        ),
      );
      onArrival({ socket, identity: client, limitPackets });
    });
    this.#server.on('tlsClientError', (error, socket) => {
      const { why, remedy } = handshakeProblem(error, socket.authorizationError);
      onRefusal(`handshake ${why}`, why, remedy);
    });
    this.#server.on('drop', () =>
      onRefusal('too many', `more than ${MAX_CONNECTIONS} connections`, 'look for who keeps connecting'),
    );
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
      secureOptions: constants.SSL_OP_NO_TICKET,
    });
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
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
): { readonly why: string; readonly remedy: string } {
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
      return { why: `a TLS handshake failed: ${errorText(error)}`, remedy: 'look at the client' };
  }
}
