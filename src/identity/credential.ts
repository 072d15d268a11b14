import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Clock } from '../core/clock.ts';
import { SluiceError, errorText } from '../core/errors.ts';
import { type Log, silentLog } from '../core/log.ts';
import type { Duration, EpochMs } from '../core/units.ts';
import { leafValidity, openAuthority, parseCertificate } from './authority.ts';
import { AUTHORITY_LIFE, CLIENT_LIFE, issue, newSerial } from './certificate.ts';
import { PUBLIC, isThere, readIfThere, removeFile, replaceFile } from './files.ts';
import { recordIssued } from './issued.ts';
import { openOwnKey } from './key.ts';

/** Organisational unit of a certificate whose owner may ask for writes. The broker reads it. */
export const MAY_COMMAND = 'may-command';

/** A name is a client id, a user, a level of topics and the name of three files. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
/** `ca` would overwrite DIR/ca.pem; `upstream` is who commands from the platform's broker come from. */
const RESERVED = new Set(['ca', 'upstream']);

export interface CredentialRequest {
  /** `<gateway.data>/identity`; a CA is made there where none is. */
  readonly folder: string;
  readonly gatewayId: string;
  readonly name: string;
  readonly mayCommand: boolean;
  /** Where the three files go; made, for the owner alone, where it is missing. */
  readonly out: string;
  /** Default a year. */
  readonly life?: Duration;
  /** Replace a key and certificate of this name. */
  readonly force?: boolean;
  readonly clock: Clock;
  readonly log?: Log;
}

interface Paths {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export interface Credential extends Paths {
  readonly name: string;
  readonly serial: string;
  readonly mayCommand: boolean;
  readonly notAfter: EpochMs;
}

/**
 * Writes DIR/ca.pem, DIR/NAME.pem and DIR/NAME.key (0600) and answers their absolute paths. May run before the first
 * start of the gateway, and while it runs. Killed half-way it leaves at most a key without certificate, which the next
 * call certifies.
 * @throws SluiceError USAGE for a name that cannot be one, SETUP where files are in the way.
 */
export async function issueCredential(request: CredentialRequest): Promise<Credential> {
  const { folder, name, clock, log = silentLog, force = false, life = CLIENT_LIFE } = request;
  checkRequest(request, life);
  const out = resolve(request.out);
  const paths: Paths = {
    ca: join(out, 'ca.pem'),
    cert: join(out, `${name}.pem`),
    key: join(out, `${name}.key`),
  };
  const authority = await openAuthority(folder, clock, log);
  await makeFolder(out);
  await refuseToHarm(paths, authority.pem, force);

  if (force) {
    await removeFile(paths.cert);
    await removeFile(paths.key);
  }
  const key = await openOwnKey(paths.key, `remove ${paths.key} and issue again`);
  const serial = newSerial();
  const validity = leafValidity(authority, clock.now(), life);
  await recordIssued(folder, {
    serial,
    name,
    rights: request.mayCommand ? ['read', 'command'] : ['read'],
    issued: clock.now(),
    notAfter: validity.to,
  });
  const cert = await issue(
    {
      name,
      units: request.mayCommand ? [MAY_COMMAND] : [],
      purposes: ['client'],
      addresses: [],
      key,
      serial,
      validity,
    },
    authority,
  );
  await replaceFile(paths.ca, authority.pem, PUBLIC);
  await replaceFile(paths.cert, cert, PUBLIC);
  return { name, ...paths, serial, mayCommand: request.mayCommand, notAfter: validity.to };
}

function checkRequest({ name, gatewayId }: CredentialRequest, life: Duration): void {
  if (!NAME.test(name)) {
    throw new SluiceError('USAGE', `${JSON.stringify(name)} cannot be the name of a credential`, {
      remedy: 'use 1 to 64 letters, digits, dots, underscores and hyphens, beginning with a letter or digit',
    });
  }
  if (name.toLowerCase() === gatewayId.toLowerCase() || RESERVED.has(name.toLowerCase())) {
    throw new SluiceError('USAGE', `the name ${name} is taken by the gateway itself`, {
      remedy: 'name the program or person that will use it, such as platform or hmi-1',
    });
  }
  if (!(life > 0 && life <= AUTHORITY_LIFE)) {
    throw new SluiceError('USAGE', 'a credential cannot outlive the CA that signs it', {
      remedy: 'use 1 to 3653 days',
    });
  }
}

async function makeFolder(out: string): Promise<void> {
  try {
    await mkdir(out, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new SluiceError('SETUP', `could not make the folder ${out}: ${errorText(error)}`, {
      cause: error,
      remedy: 'name a folder of your own with --out',
    });
  }
}

/** A key in use is somebody's access, and a CA of another gateway is what somebody trusts: neither goes unasked. */
async function refuseToHarm(paths: Paths, ca: string, force: boolean): Promise<void> {
  if (force) return;
  const otherCa = await readIfThere(paths.ca);
  if (otherCa !== undefined && otherCa !== ca && parseCertificate(otherCa) !== undefined) {
    throw new SluiceError('SETUP', `${paths.ca} is the CA of another gateway`, {
      remedy: 'choose another folder with --out, or replace it with --force',
    });
  }
  const taken = (await isThere(paths.key)) && (await isThere(paths.cert));
  if (taken) {
    throw new SluiceError('SETUP', `${paths.key} is there already`, {
      remedy: 'keep using it, choose another name or folder, or replace it with --force',
    });
  }
}
