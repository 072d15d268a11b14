import { type KeyObject, createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { SluiceError } from '../core/errors.ts';
import { PRIVATE, createFile, makePrivate, readIfThere, readSecret } from './files.ts';

/** P-256 with SHA-256: every TLS stack in the field has it (Modbus/TCP Security R-51 asks for it too). */
const CURVE = 'prime256v1';

export interface PrivateKey {
  readonly key: KeyObject;
  readonly pem: string;
  /** Somebody else could read the file until now. */
  readonly wasExposed: boolean;
}

export function newKeyPem(): string {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: CURVE });
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
}

/** The key in the file; where there is none, a new one is made, and of several processes exactly one makes it. */
export async function openKey(path: string, remedy: string): Promise<PrivateKey> {
  const pem = (await readIfThere(path)) ?? (await createFile(path, newKeyPem(), PRIVATE));
  const key = parseKey(pem, path, remedy); // before its mode is changed: it may be somebody's other file
  return { key, pem, wasExposed: await makePrivate(path) };
}

/** The same in a folder where others may write too: a key that they could have put there is refused. */
export async function openOwnKey(path: string, remedy: string): Promise<KeyObject> {
  const pem = (await readSecret(path)) ?? (await createFile(path, newKeyPem(), PRIVATE));
  return parseKey(pem, path, remedy);
}

function parseKey(pem: string, path: string, remedy: string): KeyObject {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch {
    // Without the cause on purpose: nothing that was read from a key file may reach a log.
    throw new SluiceError('SETUP', `${path} is not a private key (${pem.length} characters, no PEM)`, {
      remedy,
    });
  }
  if (key.asymmetricKeyType !== 'ec' || key.asymmetricKeyDetails?.namedCurve !== CURVE) {
    throw new SluiceError('SETUP', `${path} holds a key of another kind, not EC P-256`, { remedy });
  }
  return key;
}
