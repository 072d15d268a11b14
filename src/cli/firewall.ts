import { SluiceError } from '../core/errors.ts';
import { visible } from '../core/visible.ts';
import { nearest } from '../config/nearest.ts';
import { compile } from '../segmentation/compile.ts';
import { declare } from '../segmentation/declare.ts';
import { render } from '../segmentation/render.ts';
import { loadConfig } from './load.ts';
import { HELP, oneFile, parsedOptions, usage } from './options.ts';

const TEXT = `Usage: ./sluice firewall render [gateway.yaml]

  render  prints the network rules that follow from the configuration, as JSON for nft -j -f -. They replace the table
          inet sluice in one transaction and touch nothing else; where segmentation is off, they only remove it.
          Needs no device, no root and no network, and changes nothing.

This version has no other: plan, apply, confirm, rollback, status, prove and probe come later.

Exit status: 0 done, 64 wrong usage, 78 wrong configuration.
`;

const VERBS = ['render'];
const LATER = ['plan', 'apply', 'confirm', 'rollback', 'status', 'prove', 'probe'];

export async function run(args: readonly string[]): Promise<number> {
  const { values, positionals } = parsedOptions('firewall', args, HELP);
  if (values.help) {
    process.stdout.write(TEXT);
    return 0;
  }
  const [verb, ...files] = positionals;
  checkVerb(verb);
  const file = oneFile('firewall render', files);
  const declared = declare(await loadConfig(file));
  if ('policy' in declared) {
    process.stdout.write(render(compile(declared.policy)));
    return 0;
  }
  const { problems } = declared;
  for (const { path, found, fix } of problems) {
    process.stderr.write(`${visible(`${file}: ${path}: ${found}; ${fix}`)}\n`);
  }
  const count = problems.length === 1 ? 'a contradiction' : `${problems.length} contradictions`;
  throw new SluiceError('CONFIG_INVALID', `${file} has ${count} that no rule can express`, {
    remedy: 'nothing was printed',
  });
}

function checkVerb(verb: string | undefined): void {
  if (verb === undefined) throw usage('firewall', 'firewall wants a verb: there is render');
  if (VERBS.includes(verb)) return;
  if (LATER.includes(verb))
    throw usage('firewall', `firewall ${verb} comes in a later version: there is only render`);
  const meant = nearest(verb, VERBS);
  const hint = meant === undefined ? 'there is render' : `did you mean ${meant}?`;
  throw usage('firewall', `firewall knows no ${visible(verb)}: ${hint}`);
}
