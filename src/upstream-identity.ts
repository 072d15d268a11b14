import { createPrivateKey, X509Certificate } from 'node:crypto';
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
  const ca = pem(upstream.ca, 'mqtt.upstream.ca', 'CERTIFICATE');
  certificateOf(ca, upstream.ca, 'mqtt.upstream.ca');
  if (upstream.cert === undefined || upstream.key === undefined) return { ca, cert: own.cert, key: own.key };

  const cert = pem(upstream.cert, 'mqtt.upstream.cert', 'CERTIFICATE');
  const key = pem(upstream.key, 'mqtt.upstream.key', 'PRIVATE KEY');
  const certificate = certificateOf(cert, upstream.cert, 'mqtt.upstream.cert');
  if (!certificate.checkPrivateKey(keyOf(key, upstream.key))) {
    throw new SluiceError(
      'SETUP',
      `the key ${upstream.key} does not belong to the certificate ${upstream.cert}`,
      {
        remedy: 'let mqtt.upstream.cert and mqtt.upstream.key name a pair',
      },
    );
  }
  return { ca, cert, key };
}

function certificateOf(text: string, file: string, key: string): X509Certificate {
  try {
    return new X509Certificate(text);
  } catch (cause) {
    throw new SluiceError('SETUP', `${file}, which ${key} names, is no certificate: ${errorText(cause)}`, {
      cause,
      remedy: 'copy the certificate there again, whole',
    });
  }
}

function keyOf(text: string, file: string): ReturnType<typeof createPrivateKey> {
  try {
    return createPrivateKey(text);
  } catch (cause) {
    const isEncrypted = text.includes('ENCRYPTED');
    const what = isEncrypted ? 'is encrypted' : `is no private key: ${errorText(cause)}`;
    throw new SluiceError('SETUP', `${file}, which mqtt.upstream.key names, ${what}`, {
      cause,
      remedy: isEncrypted
        ? 'nobody is there to type its passphrase when the gateway starts; give it a key without one'
        : 'copy the key there again, whole',
    });
  }
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
