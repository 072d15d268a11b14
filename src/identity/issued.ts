import { join } from 'node:path';
import type { EpochMs } from '../core/units.ts';
import { appendLine } from './files.ts';

/** `gateway` is the appliance itself, `read` may subscribe, `command` may also ask for writes. */
export type Right = 'gateway' | 'read' | 'command';

export interface Issued {
  /** Hexadecimal, as in the certificate. */
  readonly serial: string;
  readonly name: string;
  readonly rights: readonly Right[];
  readonly issued: EpochMs;
  readonly notAfter: EpochMs;
}

/**
 * Puts a certificate on the list of everything this CA ever signed, `issued.jsonl`. On disk before the certificate
 * exists, so that there is none that the list does not know.
 */
export async function recordIssued(folder: string, entry: Issued): Promise<void> {
  const { issued, notAfter, ...rest } = entry;
  const line = {
    ...rest,
    issued: new Date(issued).toISOString(),
    'not-after': new Date(notAfter).toISOString(),
  };
  await appendLine(join(folder, 'issued.jsonl'), JSON.stringify(line));
}
