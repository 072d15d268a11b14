import { type KeyObject, createPublicKey, randomBytes, type webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import type * as X509 from '@peculiar/x509';
import { type Duration, type EpochMs, days, epochMs, hours } from '../core/units.ts';

/**
 * The CA outlives the hardware it stands on: nobody replaces the trust of every client on site. Leaves are what
 * is renewed.
 */
export const AUTHORITY_LIFE = days(3_653);
/**
 * Long, because the clock of a box without a battery may be off and nobody is near to enrol it again; it is renewed
 * when less than a third is left, so a gateway that starts once a month never shows an expired one.
 */
export const GATEWAY_LIFE = days(90);
export const CLIENT_LIFE = days(365);

/** Clients whose clock is behind accept a new certificate at once. */
const BACKDATED = hours(1);
/** A clock before this moment was never set; a life counted from it would be over as soon as the clock is right. */
const EARLIEST_NOW = epochMs(Date.UTC(2026, 0, 1));
/** RFC 5280, 4.1.2.2: positive, at most 20 octets. */
const SERIAL_BYTES = 16;

const SIGNING = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

export type Purpose = 'server' | 'client';

export interface Validity {
  readonly from: EpochMs;
  readonly to: EpochMs;
}

export interface LeafRequest {
  readonly name: string;
  readonly units: readonly string[];
  readonly purposes: readonly Purpose[];
  /** IP addresses and DNS names for the subject alternative name. */
  readonly addresses: readonly string[];
  readonly key: KeyObject;
  readonly serial: string;
  readonly validity: Validity;
}

export interface Issuer {
  readonly pem: string;
  readonly key: KeyObject;
}

export function validityFrom(now: EpochMs, life: Duration): Validity {
  return { from: epochMs(now - BACKDATED), to: epochMs(Math.max(now, EARLIEST_NOW) + life) };
}

/** Hexadecimal, random, positive. */
export function newSerial(): string {
  const serial = randomBytes(SERIAL_BYTES);
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40; // no sign bit, no leading zero byte
  return serial.toString('hex');
}

/** PEM of the certificate that a CA issues to itself. It may sign leaves, nothing below them. */
export async function selfSigned(commonName: string, key: KeyObject, validity: Validity): Promise<string> {
  const x509 = await library();
  const publicKey = await webPublicKey(key);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: newSerial(),
    name: [{ CN: [commonName] }],
    notBefore: new Date(validity.from),
    notAfter: new Date(validity.to),
    signingAlgorithm: SIGNING,
    keys: { privateKey: await webPrivateKey(key), publicKey },
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
    ],
  });
  return pemFile(certificate.toString('pem'));
}

/** PEM of a leaf, signed by the issuer. */
export async function issue(request: LeafRequest, issuer: Issuer): Promise<string> {
  const x509 = await library();
  const authority = new x509.X509Certificate(issuer.pem);
  const publicKey = await webPublicKey(request.key);
  const extensions: X509.Extension[] = [
    new x509.BasicConstraintsExtension(false, undefined, true),
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
    new x509.ExtendedKeyUsageExtension(
      request.purposes.map((purpose) =>
        purpose === 'server' ? x509.ExtendedKeyUsage.serverAuth : x509.ExtendedKeyUsage.clientAuth,
      ),
    ),
    await x509.SubjectKeyIdentifierExtension.create(publicKey),
    await x509.AuthorityKeyIdentifierExtension.create(authority.publicKey),
  ];
  if (request.addresses.length > 0) {
    const names = request.addresses.map((value) => ({ type: isIP(value) ? 'ip' : 'dns', value }) as const);
    extensions.push(new x509.SubjectAlternativeNameExtension(names));
  }
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: request.serial,
    subject: [{ CN: [request.name] }, ...request.units.map((unit) => ({ OU: [unit] }))],
    issuer: authority.subjectName,
    notBefore: new Date(request.validity.from),
    notAfter: new Date(request.validity.to),
    signingAlgorithm: SIGNING,
    publicKey,
    signingKey: await webPrivateKey(issuer.key),
    extensions,
  });
  return pemFile(certificate.toString('pem'));
}

/** Loading it costs an eighth of a second, and most starts issue nothing. */
async function library(): Promise<typeof X509> {
  await import('reflect-metadata'); // the library's container refuses to load without it
  return import('@peculiar/x509');
}

async function webPrivateKey(key: KeyObject): Promise<webcrypto.CryptoKey> {
  return imported('pkcs8', key.export({ type: 'pkcs8', format: 'der' }), 'sign');
}

async function webPublicKey(key: KeyObject): Promise<webcrypto.CryptoKey> {
  return imported('spki', createPublicKey(key).export({ type: 'spki', format: 'der' }), 'verify');
}

async function imported(
  form: 'pkcs8' | 'spki',
  der: Uint8Array<ArrayBuffer>,
  use: 'sign' | 'verify',
): Promise<webcrypto.CryptoKey> {
  return crypto.subtle.importKey(form, der, SIGNING, form === 'spki', [use]);
}

function pemFile(text: string): string {
  return text.endsWith('\n') ? text : `${text}\n`;
}
