import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { SLUICE } from './process.ts';
import type { Site } from './site.ts';

/** Issues a certificate with the command a user would type; answers the options of mosquitto_sub and mosquitto_pub. */
export function issue(site: Site, name: string, ...more: string[]): string[] {
  const keys = join(site.folder, 'keys');
  execFileSync(SLUICE, ['credentials', 'issue', name, '--out', keys, ...more, site.file]);
  return [
    ...['-h', '127.0.0.1', '-p', String(site.brokerPort), '--cafile', join(keys, 'ca.pem')],
    ...['--cert', join(keys, `${name}.pem`), '--key', join(keys, `${name}.key`), '-i', name, '-q', '1'],
  ];
}
