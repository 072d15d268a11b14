import { realpathSync } from 'node:fs';
import type { Config } from '../config/config.ts';
import { DEFAULTS } from '../config/defaults.ts';
import { formatProblem } from '../config/problem.ts';
import { SluiceError } from '../core/errors.ts';
import { type Log, streamLog } from '../core/log.ts';
import { Audit } from '../netd/audit.ts';
import { socketOf } from '../netd/client.ts';
import { netd } from '../netd/daemon.ts';
import { Firewall } from '../netd/firewall.ts';
import { conntrackLack } from '../netd/conntrack.ts';
import { isTrouble, Nft } from '../netd/nft.ts';
import { whoElse } from '../netd/ours.ts';
import type { Declared } from '../netd/perform.ts';
import { probe } from '../netd/probe.ts';
import { groupOf } from '../netd/users.ts';
import { directoryOf } from '../segmentation/suspects.ts';
import { declaredPolicy } from './declared-policy.ts';
import { gatewayOf, loadGateway, readConfig } from './load.ts';
import { HELP, oneFile, parsedOptions, usage } from './options.ts';
import { runUntilStopped } from './until-stopped.ts';

const TEXT = `Usage: ./sluice netd [--socket PATH] [--allow-uid UID]... [--allow-group NAME] [gateway.yaml]

The process that changes the network rules of this machine, and the only one that needs to: CAP_NET_ADMIN is enough. It
listens at a unix socket (/run/sluice/<gateway>.sock), reads gateway.yaml itself whenever it is asked, and obeys these
verbs only: plan, apply, confirm, rollback, quarantine, release, island, rejoin, status. Whoever asks has to be root, the
user that it runs as, or one that is named here; everybody else is refused, and what is refused is in the audit too
(segmentation/audit.jsonl below gateway.data).

  --socket PATH       where it listens
  --boot-report FILE  what firewall-boot.sh said when the machine started; /run/sluice/boot.json unless given
  --allow-uid UID     this user may ask too; may be given several times
  --allow-group NAME  everybody in this group of /etc/group may ask too

./sluice firewall plan, apply, confirm, rollback and status go through it where it answers. docs/segmentation.md tells more.

Exit status: 0 stopped on request, 1 failed, 64 wrong usage, 78 wrong configuration.
`;

const MOST_TOLD = 10;
/** Where firewall-boot.sh puts it. */
const BOOT_REPORT = '/run/sluice/boot.json';
const OPTIONS = {
  ...HELP,
  socket: { type: 'string' },
  'boot-report': { type: 'string' },
  'allow-uid': { type: 'string', multiple: true },
  'allow-group': { type: 'string' },
} as const;

export async function run(args: readonly string[]): Promise<number> {
  const { values, positionals } = parsedOptions('netd', args, OPTIONS);
  if (values.help) {
    process.stdout.write(TEXT);
    return 0;
  }
  const file = oneFile('netd', positionals);
  const uids = (values['allow-uid'] ?? []).map(uidOf);
  const group = values['allow-group'];
  if (group !== undefined) groupOf(group);
  const log = streamLog();
  const known = await loadGateway(file, (wrong) => log.error('the configuration is wrong', { wrong }));
  const gateway = gatewayOf(known);
  const config = realpathSync(file);
  mustBeOurs(config);
  const firewall = new Firewall(gateway.data, { strict: true, stays: true });
  const tasks = await netd({
    gateway: gateway.id,
    config,
    socket: values.socket ?? socketOf(gateway.id),
    permitted: { uids, group },
    firewall,
    audit: new Audit(firewall.folder),
    declared: async () => declaredBy(config, gateway),
    heal: healing(config, known.config?.segmentation.heal ?? DEFAULTS.heal),
    bootReport: values['boot-report'] ?? BOOT_REPORT,
    directory: async () => {
      mustBeOurs(config); // it says which address is cut off under a name
      return directoryOf(await readAnew(config));
    },
    log,
  });
  await tellLacks(log);
  await runUntilStopped(tasks);
  return 0;
}

/** What is wrong with nft or at the table may be over any moment, and somebody has to see to it then. */
async function tellLacks(log: Log): Promise<void> {
  try {
    for (const { name, follows } of [...(await probe(new Nft())), ...(await conntrackLack())])
      log.warn('this kernel lacks something', { name, follows });
  } catch (error) {
    if (!(error instanceof SluiceError) || isTrouble(error, 'not permitted')) throw error;
    log.error('cannot tell what this kernel lacks', { error: error.message, remedy: error.remedy });
  }
}

function uidOf(text: string): number {
  if (/^\d{1,10}$/.test(text)) return Number(text);
  throw usage('netd', `--allow-uid wants a number, as in --allow-uid 998 (id -u NAME tells it)`);
}

/** Whoever may write the configuration decides what the network allows. */
function mustBeOurs(config: string): void {
  const others = whoElse(config);
  if (others === undefined) return;
  throw new SluiceError('SETUP', `netd does not go by ${config}: ${others}`, {
    remedy: 'what is in it decides what the network allows: keep it in a folder of root, such as /etc/sluice',
  });
}

/** Whoever asks is told what is wrong with the file; they may not be at the log. */
async function readAnew(config: string): Promise<Config> {
  const read = await readConfig(config);
  if ('config' in read) return read.config;
  const { problems } = read;
  const shown = problems.slice(0, MOST_TOLD).map((one) => `\n  ${formatProblem(one)}`);
  throw new SluiceError('CONFIG_INVALID', `${config} is wrong:${shown.join('')}\nnothing was changed`, {
    remedy: `./sluice check ${config}`,
  });
}

/** What it says now; what it said last, while it is wrong or could be of others. */
function healing(config: string, first: boolean): () => Promise<boolean> {
  let last = first;
  return async () => {
    try {
      mustBeOurs(config);
      last = (await readAnew(config)).segmentation.heal;
    } catch {
      // Whoever asks for a change is told what is wrong with it.
    }
    return last;
  };
}

/** What it declares now. */
async function declaredBy(
  config: string,
  { id, data }: { readonly id: string; readonly data: string },
): Promise<Declared> {
  mustBeOurs(config);
  const { gateway, segmentation } = await readAnew(config);
  if (gateway.id !== id || gateway.data !== data) {
    throw new SluiceError('SETUP', `${config} is of another gateway now: ${gateway.id}, ${gateway.data}`, {
      remedy: 'restart netd: systemctl restart sluice-netd',
    });
  }
  const { confirmWithin, mustWork: flows, mustWorkWithin: within } = segmentation;
  return { policy: await declaredPolicy(config), confirmWithin, mustWork: { flows, within } };
}
