import { relative } from 'node:path';
import type { Config } from '../config/config.ts';
import { systemClock } from '../core/clock.ts';
import { streamLog } from '../core/log.ts';
import { days } from '../core/units.ts';
import { type Credential, issueCredential } from '../identity/credential.ts';
import { identityFolder } from '../identity/identity.ts';
import { DEFAULT_FILE, loadConfig } from './load.ts';
import { reachable, shellWord } from '../core/shell-word.ts';
import { HELP, JSON_TOO, parsedOptions, usage } from './options.ts';

const TEXT = `Usage: ./sluice credentials issue NAME --out DIR [--may-command] [--days N] [--force] [--json] [gateway.yaml]

Issues a client certificate for the embedded broker and writes DIR/ca.pem, DIR/NAME.pem and DIR/NAME.key (mode 0600).
NAME is the client id and the user; its owner may read everything of this gateway and publish nothing. Works before
the first start of the gateway and while it runs.

  --may-command  its owner may also ask for writes to points that are writable
  --days N       how long it is valid, 1 to 3653; a year where it is left out
  --force        replace a key and certificate of this name
  --json         {"name", "ca", "cert", "key", "serial", "may-command", "not-after", "subscribe"} on standard output

Exit status: 0 done, 1 failed, 64 wrong usage, 78 wrong configuration.
`;

const OPTIONS = {
  ...HELP,
  ...JSON_TOO,
  out: { type: 'string' },
  'may-command': { type: 'boolean', default: false },
  days: { type: 'string' },
  force: { type: 'boolean', default: false },
} as const;

export async function run(args: readonly string[]): Promise<number> {
  const asked = readArguments(args);
  if (asked === 'help') {
    process.stdout.write(TEXT);
    return 0;
  }
  const config = await loadConfig(asked.file);
  const credential = await issueCredential({
    folder: identityFolder(config.gateway.data),
    gatewayId: config.gateway.id,
    name: asked.name,
    mayCommand: asked.mayCommand,
    out: asked.out,
    ...(asked.days === undefined ? {} : { life: days(asked.days) }),
    force: asked.force,
    clock: systemClock,
    log: streamLog(),
  });
  process.stdout.write(asked.json ? forMachine(config, credential) : forPerson(config, credential));
  return 0;
}

/** One line for a shell; undefined where there is no embedded broker to subscribe to. */
export function subscribeLine(config: Config, { name, ca, cert, key }: Credential): string | undefined {
  const { embedded } = config.mqtt;
  if (embedded === undefined) return undefined;
  const host = reachable(embedded.host);
  const words = ['mosquitto_sub', '-h', host, '-p', `${embedded.port}`, '-i', name, '-q', '1', '-v'];
  const files = ['--cafile', shortest(ca), '--cert', shortest(cert), '--key', shortest(key)];
  return [...words, ...files, '-t', `sluice/${config.gateway.id}/#`].map(shellWord).join(' ');
}

function forMachine(config: Config, credential: Credential): string {
  const { mayCommand, notAfter, ...rest } = credential;
  const line = {
    ...rest,
    'may-command': mayCommand,
    'not-after': new Date(notAfter).toISOString(),
    subscribe: subscribeLine(config, credential) ?? null,
  };
  return `${JSON.stringify(line)}\n`;
}

function forPerson(config: Config, credential: Credential): string {
  const { name, ca, cert, key, mayCommand, notAfter } = credential;
  const line = subscribeLine(config, credential);
  return `${name} may read everything of ${config.gateway.id}${mayCommand ? ' and ask for writes' : ''}, until ${new Date(
    notAfter,
  )
    .toISOString()
    .slice(0, 10)}.

  ${shortest(ca)}
  ${shortest(cert)}
  ${shortest(key)}  (secret)

${line === undefined ? 'This gateway has no embedded broker (mqtt.embedded), and the certificate is for that.' : `Subscribe with:\n\n  ${line}`}
`;
}

function shortest(path: string): string {
  const here = relative(process.cwd(), path);
  return here !== '' && here.length < path.length && !here.startsWith('-') ? here : path;
}

interface Asked {
  readonly name: string;
  readonly out: string;
  readonly mayCommand: boolean;
  readonly days: number | undefined;
  readonly force: boolean;
  readonly json: boolean;
  readonly file: string;
}

function readArguments(args: readonly string[]): Asked | 'help' {
  const { values, positionals } = parsedOptions('credentials', args, OPTIONS);
  if (values.help) return 'help';
  const [verb, name, file = DEFAULT_FILE, ...rest] = positionals;
  if (verb !== 'issue') {
    throw usage(
      'credentials',
      verb === undefined ? 'credentials takes a verb' : `credentials has no verb "${verb}"`,
    );
  }
  if (name === undefined) throw usage('credentials', 'credentials issue takes a name');
  if (values.out === undefined) throw usage('credentials', 'credentials issue takes --out DIR');
  if (rest.length > 0) throw usage('credentials', `"${rest[0]}" is one argument too many`);
  if (values.days !== undefined && !/^[1-9]\d{0,3}$/.test(values.days)) {
    throw usage('credentials', `--days ${values.days} is no whole number of days`);
  }
  return {
    name,
    out: values.out,
    mayCommand: values['may-command'],
    days: values.days === undefined ? undefined : Number(values.days),
    force: values.force,
    json: values.json,
    file,
  };
}
