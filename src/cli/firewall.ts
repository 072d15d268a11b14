import { compile } from '../segmentation/compile.ts';
import { render } from '../segmentation/render.ts';
import { declaredPolicy } from './declared-policy.ts';
import { answerInJson } from './answer-in-json.ts';
import { runAudit } from './firewall-audit.ts';
import { type Changing, runChange } from './firewall-change.ts';
import { runPlan } from './firewall-plan.ts';
import { runProbe } from './firewall-probe.ts';
import { runProve } from './firewall-prove.ts';
import { HELP, JSON_TOO, oneFile, oneVerb, parsedOptions, usage } from './options.ts';

const TEXT = `Usage: ./sluice firewall render [gateway.yaml]
       ./sluice firewall prove [--listing FILE] [--json] [gateway.yaml]
       ./sluice firewall plan [--json] [gateway.yaml]
       ./sluice firewall audit [--json] [gateway.yaml]
       ./sluice firewall probe [--json] [gateway.yaml]
       ./sluice firewall apply|rollback|status [--json] [--socket PATH] [gateway.yaml]
       ./sluice firewall confirm CHANGE [--json] [--socket PATH] [gateway.yaml]
       ./sluice firewall island --because TEXT | rejoin [--json] [--socket PATH] [gateway.yaml]

  render  prints the network rules that follow from the configuration, as JSON for nft -j -f -. They replace the table
          inet sluice in one transaction and touch nothing else; where segmentation is off, they only remove it.
          Needs no device, no root and no network, and changes nothing.
  prove   asks the kernel what it holds, and shows that it accepts exactly the packets that the configuration declares; or
          a packet for each difference, with the rule that decided. What it does not understand is not proven. It looks
          at our tables alone: what other tables, routing and connection tracking do is assumed (docs/configuration.md).
          With --listing what TZ=UTC nft -j list table inet sluice printed elsewhere, in a file or - for standard input.
  plan    tells who gains and who loses access compared with the rules that are confirmed, and, run as root, with what the
          kernel holds where that is something else. Packets are compared, not lines. Changes nothing.
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

The last six go through netd where it listens (./sluice netd, at /run/sluice/<gateway>.sock or --socket), and need no
root then; otherwise they act themselves, as root or with CAP_NET_ADMIN, on the network namespace that they are called in.
They say which on standard error. nft 1.0.6 or newer is needed. What is known is kept in segmentation/ below gateway.data,
with an audit of who did what. Connections that the rules do not allow any more are cut, with the program conntrack.

Exit status: 0 done or proven, 1 not done or not proven (status: not the confirmed rules), 64 wrong usage,
78 wrong configuration.
`;

const CHANGING: readonly Changing[] = ['apply', 'confirm', 'rollback', 'island', 'rejoin', 'status'];
const VERBS = ['render', 'prove', 'plan', 'probe', 'audit', ...CHANGING];
const OPTIONS = {
  ...HELP,
  ...JSON_TOO,
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
  return answerInJson(values.json, async () => runVerb(verb, files, values));
}

type Values = ReturnType<typeof parsedOptions<typeof OPTIONS>>['values'];

async function runVerb(verb: string, files: readonly string[], values: Values): Promise<number> {
  const changing = CHANGING.find((one) => one === verb);
  if (changing !== undefined) {
    if (values.listing !== undefined)
      throw usage('firewall', `firewall ${verb} takes no listing: it asks nft`);
    if (values.because !== undefined && verb !== 'island')
      throw usage('firewall', `firewall ${verb} takes no reason`);
    const { json, socket, because } = values;
    return runChange(changing, files, { json, socket, because });
  }
  if (values.socket !== undefined)
    throw usage('firewall', `firewall ${verb} asks nobody: it takes no socket`);
  const file = oneFile(`firewall ${verb}`, files);
  if (verb === 'prove') return runProve(file, values.listing, values.json);
  if (verb === 'audit') {
    if (values.listing !== undefined) throw usage('firewall', 'firewall audit takes no listing');
    return runAudit(file, values.json);
  }
  if (verb === 'plan' || verb === 'probe') {
    if (values.listing !== undefined) throw usage('firewall', `firewall ${verb} takes no listing`);
    return verb === 'plan' ? runPlan(file, values.json) : runProbe(file, values.json);
  }
  if (values.listing !== undefined || values.json) {
    throw usage('firewall', 'firewall render takes no options: it prints JSON as it is');
  }
  process.stdout.write(render(compile(await declaredPolicy(file))));
  return 0;
}
