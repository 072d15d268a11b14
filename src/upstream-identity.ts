import { readFileSync } from 'node:fs';
import type { Upstream } from './config/config.ts';
import { errorText, SluiceError } from './core/errors.ts';

export interface Pems {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/**
 * Whom the upstream is checked against, and who the gateway says it is: the files that the configuration names, or the
 * gateway's own certificate.
 *
 * @throws SluiceError SETUP for a file that is missing, unreadable or no PEM.
 */
export function upstreamIdentity(upstream: Upstream, own: Pems): Pems {
  return {
    ca: pem(upstream.ca, 'mqtt.upstream.ca', 'CERTIFICATE'),
    cert: upstream.cert === undefined ? own.cert : pem(upstream.cert, 'mqtt.upstream.cert', 'CERTIFICATE'),
    key: upstream.key === undefined ? own.key : pem(upstream.key, 'mqtt.upstream.key', 'PRIVATE KEY'),
  };
}

function pem(file: string, key: string, what: string): string {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new SluiceError('SETUP', `cannot read ${file}, which ${key} names: ${errorText(cause)}`, {
      cause,
      remedy: 'put the file there, readable by the gateway, or correct the path',
    });
  }
  if (!text.includes(`${what}-----`)) {
    throw new SluiceError('SETUP', `${file}, which ${key} names, holds no PEM "${what}"`, {
      remedy: `convert it to PEM; it starts with -----BEGIN ${what}-----`,
    });
  }
  return text;
}
