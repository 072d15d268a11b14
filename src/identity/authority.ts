import { type KeyObject, X509Certificate, createHash, createPublicKey } from 'node:crypto';
import { join } from 'node:path';
import type { Clock } from '../core/clock.ts';
import { SluiceError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import { type Duration, type EpochMs, epochMs } from '../core/units.ts';
import { AUTHORITY_LIFE, type Issuer, type Validity, selfSigned, validityFrom } from './certificate.ts';
import { PUBLIC, createFile, openFolder, readIfThere } from './files.ts';
import { openKey } from './key.ts';

export interface Authority extends Issuer {
  readonly certificate: X509Certificate;
}

/**
 * The local CA in `folder`; made where there is none. It needs no lock: the key file comes into being whole and once,
 * and everything else follows from the key, so whoever comes second, or after a kill, ends with the same CA.
 */
export async function openAuthority(folder: string, clock: Clock, log: Log): Promise<Authority> {
  await openFolder(folder);
  const keyFile = join(folder, 'ca.key');
  const certificateFile = join(folder, 'ca.pem');
  const remedy = `restore ${folder} from a backup, or remove that folder: a new CA is made and every client needs new credentials`;

  const before = await readIfThere(certificateFile);
  if (before !== undefined && (await readIfThere(keyFile)) === undefined) {
    throw new SluiceError('SETUP', `${certificateFile} is there, but its key ${keyFile} is missing`, {
      remedy,
    });
  }
  const { key, wasExposed } = await openKey(keyFile, remedy);
  if (wasExposed) {
    log.warn('the key of the local CA could be read by others; its mode was set to 0600', { file: keyFile });
  }
  const pem =
    before ??
    (await createFile(
      certificateFile,
      await selfSigned(authorityName(key), key, validityFrom(clock.now(), AUTHORITY_LIFE)),
      PUBLIC,
    ));
  const certificate = parseCertificate(pem);
  if (certificate === undefined) {
    throw new SluiceError('SETUP', `${certificateFile} is not a certificate`, { remedy });
  }
  if (!certificate.checkPrivateKey(key)) {
    throw new SluiceError('SETUP', `${certificateFile} does not belong to the key ${keyFile}`, { remedy });
  }
  if (certificate.validToDate.getTime() <= clock.now()) {
    throw new SluiceError(
      'SETUP',
      `the local CA ${certificateFile} is valid until ${certificate.validTo} only`,
      {
        remedy: `set the clock of this machine if it is wrong; otherwise ${remedy}`,
      },
    );
  }
  return { pem, key, certificate };
}

/** Counted from now, and never longer than the CA itself is valid. */
export function leafValidity(authority: Authority, now: EpochMs, life: Duration): Validity {
  const { from, to } = validityFrom(now, life);
  return { from, to: epochMs(Math.min(to, authority.certificate.validToDate.getTime())) };
}

/** The certificate in a PEM text, or undefined where it is none. */
export function parseCertificate(pem: string): X509Certificate | undefined {
  try {
    return new X509Certificate(pem);
  } catch {
    return undefined;
  }
}

/**
 * Named after its key: two gateways of the same name stay apart in a client that trusts both, and a lost certificate
 * is made again so that leaves which were issued before still verify.
 */
function authorityName(key: KeyObject): string {
  const spki = createPublicKey(key).export({ type: 'spki', format: 'der' });
  return `Sluice local CA ${createHash('sha256').update(spki).digest('hex').slice(0, 12)}`;
}
