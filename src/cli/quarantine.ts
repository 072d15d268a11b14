import { parseDuration } from '../config/duration.ts';
import { visible } from '../core/visible.ts';
import { Firewall } from '../netd/firewall.ts';
import { listOfStatus, listTold } from '../netd/tell-measures.ts';
import { asTyped } from './as-typed.ts';
import { type ChangeOptions, netdOf, reason, runRequest } from './firewall-change.ts';
import { DEFAULT_FILE, gatewayOf, loadGateway } from './load.ts';
import { HELP, JSON_TOO, oneFile, parsedOptions, usage } from './options.ts';

const QUARANTINE =
  './sluice quarantine DEVICE [--for 1h] --because TEXT [--json] [--socket PATH] [gateway.yaml]';
const RELEASE = './sluice release DEVICE [--because TEXT] [--json] [--socket PATH] [gateway.yaml]';
const LIST = './sluice quarantine [--json] [--socket PATH] [gateway.yaml]';
const TEXT = `
Cuts a device off by its hardware address and its addresses, its living connections too, at once, and keeps it so over a
change of the rules, a roll back and a start of the machine, until it is released or its time is over. DEVICE is a name
of gateway.yaml, an address, or a hardware address; one that a device of the file has stands for all of that device. Also
in mode observe; where segmentation is off, nothing enforces it, and that is said. Without a device it lists who is in
quarantine, and why.

Whoever manages the gateway, and finding neighbours in IPv6, are not held back, so that nobody locks themselves out.
Packets that do not pass the gateway, between devices at one switch, no gateway can stop.

  --for TIME      ends by itself, such as 30m, 8h or 2d; counted by a clock that nobody can set. It is netd that ends
                  it; without netd the next command does.
  --because TEXT  why; goes to the audit, and to whoever asks later.

Exit status: 0 done, 1 not done, or nothing enforces it, 64 wrong usage, 78 wrong configuration.
`;
/** The same text for both, the command that was asked for first. */
const help = (...usages: readonly string[]): string => `Usage: ${usages.join('\n       ')}\n${TEXT}`;

const OPTIONS = {
  ...HELP,
  ...JSON_TOO,
  for: { type: 'string' },
  because: { type: 'string' },
  socket: { type: 'string' },
} as const;
type Values = ReturnType<typeof parsedOptions<typeof OPTIONS>>['values'];

export async function run(args: readonly string[]): Promise<number> {
  const { values, positionals } = parsedOptions('quarantine', args, OPTIONS);
  if (values.help) {
    process.stdout.write(help(QUARANTINE, RELEASE, LIST));
    return 0;
  }
  return putOrList(positionals, values);
}

async function putOrList(positionals: readonly string[], values: Values): Promise<number> {
  const { json, socket } = values;
  const [device] = positionals;
  if (device === undefined || isFile(device)) {
    if (values.because !== undefined || values.for !== undefined)
      throw usage('quarantine', 'quarantine wants a device to put there');
    return list(oneFile('quarantine', positionals), { json, socket });
  }
  const file = fileBehind('quarantine', positionals);
  const because = reason('quarantine', values.because);
  const lasts = values.for === undefined ? undefined : parseDuration(values.for);
  if (values.for !== undefined && (lasts === undefined || lasts < 1))
    throw usage('quarantine', '--for wants a time, such as --for 1h');
  const request = { verb: 'quarantine', device, because, ...(lasts !== undefined && { lasts }) } as const;
  return runRequest(request, file, { json, socket });
}

export async function runRelease(args: readonly string[]): Promise<number> {
  const { values, positionals } = parsedOptions('release', args, OPTIONS);
  if (values.help) {
    process.stdout.write(help(RELEASE, QUARANTINE, LIST));
    return 0;
  }
  return release(positionals, values);
}

async function release(positionals: readonly string[], values: Values): Promise<number> {
  const [device] = positionals;
  if (device === undefined || isFile(device)) {
    const said = { file: device ?? DEFAULT_FILE, socket: values.socket };
    throw usage('release', `release wants a device: ${asTyped('./sluice quarantine lists them', said)}`);
  }
  if (values.for !== undefined) throw usage('release', 'release takes no time');
  const file = fileBehind('release', positionals);
  const { json, socket, because } = values;
  const request = { verb: 'release', device, ...(because !== undefined && { because }) } as const;
  return runRequest(request, file, { json, socket });
}

/** What comes behind the device, which may be left out. Throws USAGE where it is more than that. */
function fileBehind(command: string, [, ...files]: readonly string[]): string {
  if (files.length <= 1) return oneFile(command, files);
  const extra = isFile(files.at(-1) ?? '') ? files.slice(0, -1) : files;
  throw usage(
    command,
    `${command} takes one device and perhaps a file, and nothing else: ${extra.map(visible).join(' ')}`,
  );
}

/** No device has a name with a dot and letters behind it, nor a slash. */
const isFile = (text: string): boolean => /\.ya?ml$/.test(text);

async function list(file: string, { json, socket }: ChangeOptions): Promise<number> {
  const known = await loadGateway(file);
  using netd = await netdOf(known, file, { socket });
  const told =
    netd === undefined
      ? listTold(await new Firewall(gatewayOf(known).data).quarantined())
      : listOfStatus((await netd.ask({ verb: 'status' })).result);
  process.stdout.write(json ? `${JSON.stringify(told.result)}\n` : told.text);
  return told.good ? 0 : 1;
}
