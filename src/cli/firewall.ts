import { compile } from '../segmentation/compile.ts';
import { render } from '../segmentation/render.ts';
import { typed } from './as-typed.ts';
import { declaredPolicy } from './declared-policy.ts';
import { runAudit } from './firewall-audit.ts';
import { type Asking, runChange } from './firewall-change.ts';
import { runProbe } from './firewall-probe.ts';
import { runProve } from './firewall-prove.ts';
import { HELP, oneFile, oneVerb, parsedOptions, usage } from './options.ts';

const TEXT = `Usage: ./sluice firewall render [gateway.yaml]
       ./sluice firewall prove [--listing FILE] [--json] [gateway.yaml]
       ./sluice firewall plan [--json] [--socket PATH] [gateway.yaml]
       ./sluice firewall audit [--json] [gateway.yaml]
       ./sluice firewall probe [--json] [gateway.yaml]
       ./sluice firewall apply|rollback|status [--json] [--socket PATH] [gateway.yaml]
       ./sluice firewall confirm CHANGE [--json] [--socket PATH] [gateway.yaml]
       ./sluice firewall island --because TEXT | rejoin [--json] [--socket PATH] [gateway.yaml]

  render  prints the network rules that follow from the configuration, as JSON for nft -j -f -. They replace the table
          inet sluice, and where a zone has ports the table bridge sluice, in one transaction and touch nothing else; where
          segmentation is off, they only remove inet sluice. Needs no device, no root and no network, and changes nothing.
  prove   asks the kernel what it holds, and shows that it accepts exactly the packets that the configuration declares; or
          a packet for each difference, with the rule that decided. What it does not understand is not proven. It looks
          at our tables alone: what other tables, routing and connection tracking do is assumed (docs/configuration.md).
          With --listing what TZ=UTC nft -j list ruleset printed elsewhere, in a file or - for standard input.
  plan    tells who gains and who loses access compared with the rules that are confirmed, and with what the kernel holds
          where that is something else and may be asked. Packets are compared, not lines. Changes nothing.
  probe   builds a twin of the plant in network namespaces, a gateway with these very rules and hosts around it, sends real
          packets through each cell of the matrix and tells where they differ from what is declared. Needs root, changes
          nothing of this machine, and leaves nothing behind, however it ends.

  audit   tells who changed what last, or was refused, and verifies that each record follows from the one before.

  apply     puts the rules into the kernel of this machine, only what differs and in one transaction, reads them back
            and proves them. Unless they are confirmed within segmentation.confirm-within, they are rolled back by
            processes that were started before, whatever becomes of this command or the connection it came by.
  confirm   keeps a change that was applied; say it on a new connection, so that it shows that you still reach the gateway.
            The connection that applied (to netd, or by ssh) is refused.
  rollback  returns to the rules that were confirmed last, at once; also where somebody else changed the table.
  island    cuts every conduit at once, those of the gateway and the upstream too, until rejoin; polls, zones within
            themselves and management go on. Whatever is applied, rolled back or started keeps it.
  rejoin    opens the conduits again, as declared.
  status    tells what the kernel holds, what waits, and what of the kernel is lacking. Changes nothing.

The last six, and plan, go through netd where it listens (./sluice netd, at /run/sluice/<gateway>.sock or --socket), and
need no root then; otherwise they act themselves, as root or with CAP_NET_ADMIN, on the network namespace that they are
called in. They say which on standard error; plan also acts itself where netd goes by another file, or may not be asked. nft 1.0.6 or newer is needed. What is known is kept in segmentation/ below gateway.data,
with an audit of who did what. Connections that the rules do not allow any more are cut, with the program conntrack.

Exit status: 0 done or proven, 1 not done or not proven (status: not the confirmed rules), 64 wrong usage,
78 wrong configuration.
`;

/** Options of each verb, beside --help. */
const TAKES = {
  render: [],
  prove: ['listing', 'json'],
  plan: ['json', 'socket'],
  probe: ['json'],
  audit: ['json'],
  apply: ['json', 'socket'],
  confirm: ['json', 'socket'],
  rollback: ['json', 'socket'],
  island: ['json', 'socket', 'because'],
  rejoin: ['json', 'socket'],
  status: ['json', 'socket'],
} as const;
const VERBS = [
  'render',
  'prove',
  'plan',
  'probe',
  'audit',
  'apply',
  'confirm',
  'rollback',
  'island',
  'rejoin',
  'status',
] as const satisfies (keyof typeof TAKES)[];
const ASKING: readonly Asking[] = ['plan', 'apply', 'confirm', 'rollback', 'island', 'rejoin', 'status'];
const OPTIONS = {
  ...HELP,
  json: { type: 'boolean' },
  listing: { type: 'string' },
  socket: { type: 'string' },
  because: { type: 'string' },
} as const;

export async function run(args: readonly string[]): Promise<number> {
  const { values, positionals } = parsedOptions('firewall', args, OPTIONS);
  if (values.help) {
    process.stdout.write(TEXT);
    return 0;
  }
  const [verb, ...files] = oneVerb('firewall', positionals, VERBS);
  const takes: readonly string[] = TAKES[verb];
  const [idle] = Object.keys(values).filter((name) => name !== 'help' && !takes.includes(name));
  if (idle !== undefined) throw usage('firewall', `firewall ${verb} takes no --${idle}`);
  const { json = false, listing, socket, because } = values;
  const asking = ASKING.find((one) => one === verb);
  if (asking !== undefined) return runChange(asking, files, { json, socket, because });
  const file = oneFile(`firewall ${verb}`, files);
  return typed({ file }, async () => {
    if (verb === 'prove') return runProve(file, listing, json);
    if (verb === 'audit') return runAudit(file, json);
    if (verb === 'probe') return runProbe(file, json);
    process.stdout.write(render(compile(await declaredPolicy(file))));
    return 0;
  });
}
