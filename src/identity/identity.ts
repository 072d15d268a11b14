import type { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { join } from 'node:path';
import type { Clock } from '../core/clock.ts';
import { type Log, silentLog } from '../core/log.ts';
import { type EpochMs, epochMs } from '../core/units.ts';
import { namesOf } from './address.ts';
import { type Authority, leafValidity, openAuthority, parseCertificate } from './authority.ts';
import { GATEWAY_LIFE, issue, newSerial } from './certificate.ts';
import { PUBLIC, readIfThere, replaceFile } from './files.ts';
import { recordIssued } from './issued.ts';
import { type PrivateKey, openKey } from './key.ts';

/** Renewed when less than this part of its life is left. */
const RENEW_BELOW = 1 / 3;

/** Where everything below lies, given `gateway.data` (DESIGN 5.5). */
export function identityFolder(data: string): string {
  return join(data, 'identity');
}

export interface IdentityOptions {
  /** `identityFolder(config.gateway.data)`; made where it is missing. */
  readonly folder: string;
  /** Common name of the gateway's certificate. */
  readonly gatewayId: string;
  /** What the broker listens on: IP addresses, also `0.0.0.0` and `::`, or names. */
  readonly addresses: readonly string[];
  readonly clock: Clock;
  readonly log?: Log;
}

/** Who the gateway is: to clients of its broker (server) and to an upstream (client). All PEM. */
export interface Identity {
  /** The local CA, which signs clients of the embedded broker too. */
  readonly ca: string;
  /** Another one after `renewIfDue` answered true; the key stays. */
  readonly cert: string;
  readonly key: string;
  readonly notAfter: EpochMs;
  /**
   * Renews the certificate when less than a third of its life is left, when it is not valid yet (the clock was set
   * back) or when the addresses changed. True: `cert` is a new one and belongs into the secure context.
   */
  renewIfDue(): Promise<boolean>;
}

/**
 * Opens the identity in `folder`; what is missing is made, what a kill left half-made is mended.
 * @throws SluiceError SETUP where a person has to act: a lost or foreign CA key, a folder that cannot be written.
 */
export async function openIdentity(options: IdentityOptions): Promise<Identity> {
  const { folder, clock, log = silentLog } = options;
  const authority = await openAuthority(folder, clock, log);
  const keyFile = join(folder, 'gateway.key');
  const key = await openKey(keyFile, `remove ${keyFile}: the gateway makes itself a new one`);
  if (key.wasExposed) {
    log.warn('the key of the gateway could be read by others; its mode was set to 0600', { file: keyFile });
  }
  const identity = new OwnIdentity(options, authority, key);
  await identity.renewIfDue();
  return identity;
}

class OwnIdentity implements Identity {
  readonly #options: IdentityOptions;
  readonly #authority: Authority;
  readonly #key: PrivateKey;
  readonly #file: string;
  #cert = '';
  #notAfter = epochMs(0);

  constructor(options: IdentityOptions, authority: Authority, key: PrivateKey) {
    this.#options = options;
    this.#authority = authority;
    this.#key = key;
    this.#file = join(options.folder, 'gateway.pem');
  }

  get ca(): string {
    return this.#authority.pem;
  }

  get cert(): string {
    return this.#cert;
  }

  get key(): string {
    return this.#key.pem;
  }

  get notAfter(): EpochMs {
    return this.#notAfter;
  }

  async renewIfDue(): Promise<boolean> {
    const { gatewayId, addresses, clock, log = silentLog } = this.#options;
    const names = namesOf(addresses);
    const pem = await readIfThere(this.#file);
    const present = pem === undefined ? undefined : parseCertificate(pem);
    const because = this.#whyDue(present, names);
    if (because === undefined && pem !== undefined && present !== undefined) {
      return this.#use(pem, present);
    }

    const validity = leafValidity(this.#authority, clock.now(), GATEWAY_LIFE);
    const serial = newSerial();
    await recordIssued(this.#options.folder, {
      serial,
      name: gatewayId,
      rights: ['gateway'],
      issued: clock.now(),
      notAfter: validity.to,
    });
    const fresh = await issue(
      {
        name: gatewayId,
        units: [],
        purposes: ['server', 'client'],
        addresses: names,
        key: this.#key.key,
        serial,
        validity,
      },
      this.#authority,
    );
    await replaceFile(this.#file, fresh, PUBLIC);
    log.info('certificate of the gateway issued', { because, until: new Date(validity.to).toISOString() });
    return this.#use(fresh, parseCertificate(fresh));
  }

  #use(pem: string, certificate: X509Certificate | undefined): boolean {
    const changed = pem !== this.#cert;
    this.#cert = pem;
    this.#notAfter = epochMs(certificate?.validToDate.getTime() ?? 0);
    return changed;
  }

  #whyDue(present: X509Certificate | undefined, names: readonly string[]): string | undefined {
    if (present === undefined) return 'there was none';
    if (!present.checkPrivateKey(this.#key.key)) return 'it belonged to another key';
    if (!present.checkIssued(this.#authority.certificate)) return 'it was of another CA';
    if (!present.verify(this.#authority.certificate.publicKey)) return 'it was of another CA';
    if (present.subject !== `CN=${this.#options.gatewayId}`) return 'the gateway has another name';
    if (!bears(present, names)) return 'the addresses changed';
    const now = this.#options.clock.now();
    const [from, to] = [present.validFromDate.getTime(), present.validToDate.getTime()];
    if (now < from) return 'it is not valid yet';
    if (to - now < (to - from) * RENEW_BELOW) return 'less than a third of its life was left';
    return undefined;
  }
}

/** Exactly these names: one more would vouch for a machine that is somebody else's by now. */
function bears(certificate: X509Certificate, names: readonly string[]): boolean {
  const present = certificate.subjectAltName?.split(', ') ?? [];
  return (
    present.length === names.length &&
    names.every((name) =>
      isIP(name) === 0
        ? certificate.checkHost(name, { subject: 'never' }) !== undefined
        : certificate.checkIP(name) !== undefined,
    )
  );
}
