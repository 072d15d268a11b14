import { isIP } from 'node:net';
import { errorText, SluiceError } from '../core/errors.ts';

/** PEM texts. `ca` is whom we trust, `cert` and `key` are what we show. */
export interface TlsIdentity {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** TLS 1.2 or newer with authenticated encryption and forward secrecy only (RFC 9325, 4.2; RFC 8446, B.4). */
export const TLS_OPTIONS = {
  minVersion: 'TLSv1.2',
  ciphers: [
    'TLS_AES_256_GCM_SHA384',
    'TLS_CHACHA20_POLY1305_SHA256',
    'TLS_AES_128_GCM_SHA256',
    'ECDHE-ECDSA-AES256-GCM-SHA384',
    'ECDHE-RSA-AES256-GCM-SHA384',
    'ECDHE-ECDSA-CHACHA20-POLY1305',
    'ECDHE-RSA-CHACHA20-POLY1305',
    'ECDHE-ECDSA-AES128-GCM-SHA256',
    'ECDHE-RSA-AES128-GCM-SHA256',
  ].join(':'),
} as const;

/** Server Name Indication is for names only (RFC 6066, 3); an address is checked against the certificate as it is. */
export function serverName(host: string): { readonly servername?: string } {
  return isIP(host) === 0 ? { servername: host } : {};
}

/** The `code` of a system or OpenSSL error, or ''. */
export function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}

interface Explanation {
  readonly says: string;
  readonly remedy: string;
}

/** One sentence about why there is no connection to the broker, and what to do. */
export function connectProblem(error: unknown, broker: string): SluiceError {
  if (error instanceof SluiceError) return error;
  const { says, remedy } = explain(error);
  const system = /^E[A-Z]+$/.test(errorCode(error));
  return new SluiceError(system ? 'CONNECTION_LOST' : 'SETUP', `no connection to ${broker}: ${says}`, {
    remedy,
    cause: error,
  });
}

function explain(error: unknown): Explanation {
  const code = errorCode(error);
  switch (code) {
    case 'ECONNREFUSED':
      return { says: 'nothing listens there', remedy: 'start the broker, or correct mqtt.upstream.url' };
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return {
        says: 'the host name is not known',
        remedy: 'correct mqtt.upstream.url, or look at the name server',
      };
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
    case 'ETIMEDOUT':
      return { says: 'no answer', remedy: 'look at the uplink, its routes and the firewall in between' };
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
    case 'CERT_SIGNATURE_FAILURE':
      return {
        says: 'its certificate was not issued by the configured CA',
        remedy: "put the certificate of the broker's CA into the file that mqtt.upstream.ca names",
      };
    case 'CERT_HAS_EXPIRED':
      return {
        says: 'its certificate has expired',
        remedy: "renew the broker's certificate, or correct the clock of the gateway",
      };
    case 'CERT_NOT_YET_VALID':
      return {
        says: 'its certificate is not valid yet',
        remedy: 'correct the clock of the gateway, or of whoever issued the certificate',
      };
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return {
        says: `its certificate is for another name (it carries ${namesInCertificate(error)})`,
        remedy: 'use a name in mqtt.upstream.url that the certificate carries, or issue one with this name',
      };
    case 'ERR_SSL_WRONG_VERSION_NUMBER':
    case 'ERR_SSL_PACKET_LENGTH_TOO_LONG':
      return {
        says: 'it does not speak TLS on this port',
        remedy: 'use the mqtts port of the broker (8883)',
      };
    case 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION':
    case 'ERR_SSL_UNSUPPORTED_PROTOCOL':
      return { says: 'it speaks no TLS 1.2 or newer', remedy: 'update the broker' };
    case 'ERR_SSL_NO_SHARED_CIPHER':
    case 'ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE':
      return {
        says: 'no common cipher, or it wants another kind of certificate',
        remedy: 'allow an ECDHE cipher with GCM or ChaCha20-Poly1305 at the broker',
      };
    default:
      return explainAlert(code) ?? explainEnd(error, code);
  }
}

function namesInCertificate(error: unknown): string {
  if (!(error instanceof Error) || !('cert' in error)) return 'none';
  const { cert } = error;
  if (typeof cert !== 'object' || cert === null || !('subjectaltname' in cert)) return 'none';
  return String(cert.subjectaltname).slice(0, 200);
}

/** Alerts with which the broker refuses our certificate (RFC 8446, 6.2). */
function explainAlert(code: string): Explanation | undefined {
  if (!code.includes('ALERT')) return undefined;
  if (code.includes('UNKNOWN_CA')) {
    return {
      says: 'it does not know the CA of our certificate',
      remedy:
        "add the gateway's CA to the broker, or set mqtt.upstream.cert and key to a certificate of its CA",
    };
  }
  if (code.includes('CERTIFICATE_EXPIRED')) {
    return { says: 'our certificate has expired', remedy: 'renew it, or correct the clock of the gateway' };
  }
  if (
    code.includes('CERTIFICATE_REQUIRED') ||
    code.includes('CERTIFICATE') ||
    code.includes('DECRYPT_ERROR')
  ) {
    return {
      says: 'it refused our certificate',
      remedy: "set mqtt.upstream.cert and key to a certificate that the broker's CA issued for clients",
    };
  }
  return { says: `it ended the handshake (${code})`, remedy: 'look into the log of the broker' };
}

function explainEnd(error: unknown, code: string): Explanation {
  if (code === 'ECONNRESET' || code === 'EPIPE' || code === '') {
    return { says: errorText(error), remedy: 'look into the log of the broker' };
  }
  return { says: `${errorText(error)} (${code})`, remedy: 'look into the log of the broker' };
}
