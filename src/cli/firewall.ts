import { visible } from '../core/visible.ts';
import { nearest } from '../config/nearest.ts';
import { compile } from '../segmentation/compile.ts';
import { render } from '../segmentation/render.ts';
import { declaredPolicy } from './declared-policy.ts';
import { runProve } from './firewall-prove.ts';
import { HELP, JSON_TOO, oneFile, parsedOptions, usage } from './options.ts';

const TEXT = `Usage: ./sluice firewall render [gateway.yaml]
       nft -j list table inet sluice | ./sluice firewall prove [--listing FILE] [--json] [gateway.yaml]

  render  prints the network rules that follow from the configuration, as JSON for nft -j -f -. They replace the table
          inet sluice in one transaction and touch nothing else; where segmentation is off, they only remove it.
          Needs no device, no root and no network, and changes nothing.
  prove   reads what nft lists, from standard input or a file, and shows that the kernel accepts exactly the packets
          that the configuration declares; or a packet for each difference, with the rule that decided. What it does
          not understand is not proven. It looks at this table alone: what other tables, routing and connection
          tracking do is assumed (docs/configuration.md).

This version has no other: plan, apply, confirm, rollback, status and probe come later.

Exit status: 0 done or proven, 1 not proven, 64 wrong usage, 78 wrong configuration.
`;

const VERBS = ['render', 'prove'];
const LATER = ['plan', 'apply', 'confirm', 'rollback', 'status', 'probe'];
const OPTIONS = { ...HELP, ...JSON_TOO, listing: { type: 'string' } } as const;

export async function run(args: readonly string[]): Promise<number> {
  const { values, positionals } = parsedOptions('firewall', args, OPTIONS);
  if (values.help) {
    process.stdout.write(TEXT);
    return 0;
  }
  const [verb, ...files] = positionals;
  checkVerb(verb);
  const file = oneFile(`firewall ${verb}`, files);
  if (verb === 'prove') return runProve(await declaredPolicy(file), values.listing, values.json);
  if (values.listing !== undefined || values.json) {
    throw usage('firewall', 'firewall render takes no options: it prints JSON as it is');
  }
  process.stdout.write(render(compile(await declaredPolicy(file))));
  return 0;
}

function checkVerb(verb: string | undefined): void {
  if (verb === undefined) throw usage('firewall', 'firewall wants a verb: there are render and prove');
  if (VERBS.includes(verb)) return;
  if (LATER.includes(verb))
    throw usage('firewall', `firewall ${verb} comes in a later version: there are only render and prove`);
  const meant = nearest(verb, VERBS);
  const hint = meant === undefined ? 'there are render and prove' : `did you mean ${meant}?`;
  throw usage('firewall', `firewall knows no ${visible(verb)}: ${hint}`);
}
