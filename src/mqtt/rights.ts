import type { PeerCertificate } from 'node:tls';
import { MAX_COMMAND_BYTES } from './messages.ts';
import { NAME, parseCommandTopic } from './topics.ts';

/** Organizational unit in a client's certificate that lets it send commands. */
export const MAY_COMMAND = 'may-command';

/** Who a client is, from its certificate and nothing else. */
export interface ClientIdentity {
  readonly name: string;
  readonly mayCommand: boolean;
}

/** The identity of a verified certificate, or why it cannot be one. */
export function clientIdentity(certificate: PeerCertificate): ClientIdentity | string {
  // Where a certificate has several of a kind, Node hands an array.
  const subject: { readonly CN?: unknown; readonly OU?: unknown } = certificate.subject ?? {};
  const { CN: name, OU: units } = subject;
  if (typeof name !== 'string') return 'the certificate has no name, or several';
  if (!NAME.test(name))
    return `the name in the certificate (${JSON.stringify(name.slice(0, 80))}) is not allowed`;
  return { name, mayCommand: units === MAY_COMMAND || (Array.isArray(units) && units.includes(MAY_COMMAND)) };
}

export interface PublishRequest {
  readonly topic: string;
  readonly retain: boolean;
  readonly size: number;
}

/** Why a client may not publish this; undefined where it may. Nobody publishes anything but commands. */
export function publishProblem(
  root: string,
  client: ClientIdentity,
  { topic, retain, size }: PublishRequest,
): string | undefined {
  if (!client.mayCommand) return `its certificate was not issued with --${MAY_COMMAND}`;
  if (parseCommandTopic(root, topic) === undefined)
    return `only ${root}command/<device>/<point> may be published to`;
  if (retain) return 'a command must not be retained: it would be carried out again later';
  if (size > MAX_COMMAND_BYTES) return `a command is at most ${MAX_COMMAND_BYTES} bytes`;
  return undefined;
}
