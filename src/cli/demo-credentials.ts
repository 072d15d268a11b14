import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../config/config.ts';
import { systemClock } from '../core/clock.ts';
import { days } from '../core/units.ts';
import { issueCredential } from '../identity/credential.ts';
import { identityFolder } from '../identity/identity.ts';

/** For the person at the screen. */
export const VIEWER = 'viewer';
export const OPERATOR = 'operator';
/** For the demo itself, which subscribes like any other client. */
export const SCREEN = 'demo-screen';

/** A demo that is started today should not end in the middle of its first day. */
const VALID_FOR_LEAST = days(1);

/** Issues the certificates of the demo where they are not there or of no use any more; returns their folder. */
export async function demoCredentials({ gateway }: Config): Promise<string> {
  const out = join(gateway.data, 'credentials');
  const folder = identityFolder(gateway.data);
  for (const name of [VIEWER, OPERATOR, SCREEN]) {
    if (isOfUse(out, name, folder)) continue;
    await issueCredential({
      folder,
      gatewayId: gateway.id,
      name,
      mayCommand: name === OPERATOR,
      out,
      force: true, // a CA that was made anew leaves certificates behind that open nothing
      clock: systemClock,
    });
  }
  return out;
}

function isOfUse(out: string, name: string, identity: string): boolean {
  try {
    const authority = readFileSync(join(identity, 'ca.pem'), 'utf8');
    const certificate = new X509Certificate(readFileSync(join(out, `${name}.pem`)));
    return (
      readFileSync(join(out, 'ca.pem'), 'utf8') === authority &&
      certificate.verify(new X509Certificate(authority).publicKey) &&
      certificate.validToDate.getTime() > systemClock.now() + VALID_FOR_LEAST
    );
  } catch {
    return false; // missing or damaged: the same to whoever needs one
  }
}
