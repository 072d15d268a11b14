// A program: node segmentation-job.ts GATEWAY.yaml BEFORE.yaml FOLDER: every step from the declaration to the proof, in
// the network namespace that it is started in. Tells a JSON object.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bring } from '../../src/netd/bring.ts';
import { Firewall } from '../../src/netd/firewall.ts';
import { Nft } from '../../src/netd/nft.ts';
import { minutes } from '../../src/core/units.ts';
import { compile } from '../../src/segmentation/compile.ts';
import { delta } from '../../src/segmentation/delta.ts';
import { prove } from '../../src/segmentation/prove.ts';
import { render } from '../../src/segmentation/render.ts';
import { policyOf } from '../segmentation/policies.ts';

interface Step {
  readonly step: string;
  readonly ms: number;
  /** Of this process alone; nft is another one. */
  readonly cpu: number;
}

const steps: Step[] = [];

async function timed<T>(step: string, work: () => T | Promise<T>): Promise<T> {
  const [began, before] = [performance.now(), process.cpuUsage()];
  const done = await work();
  const { user, system } = process.cpuUsage(before);
  steps.push({ step, ms: performance.now() - began, cpu: (user + system) / 1_000 });
  return done;
}

const [file = '', before = '', folder = ''] = process.argv.slice(2);
const nft = new Nft();
const policy = await timed('read', () => policyOf(readFileSync(file, 'utf8')));
const old = render(compile(policyOf(readFileSync(before, 'utf8'))));
const document = await timed('render', () => render(compile(policy)));
await timed('check', async () => nft.check(document));
await timed('load first', async () => {
  const failed = await nft.load(old);
  if (failed !== undefined) throw failed;
});
const live = (await timed('list', async () => nft.list())) ?? '';
const planned = await timed('delta', () => delta(live, document));
const brought = await timed('one device', async () => bring(nft, document));
const listing = brought.listing ?? '';
const proof = await timed('prove', () => prove(policy, listing));
mkdirSync(join(folder, 'data'));
const firewall = new Firewall(join(folder, 'data'));
await timed('apply', async () => {
  const { id } = await firewall.apply(policy, minutes(5));
  if (id !== undefined) await firewall.confirm(id);
});
writeFileSync(join(folder, 'listing.json'), listing);
const { elementsAdded, elementsDeleted } = planned.changes;
console.log(
  JSON.stringify({
    steps,
    proven: proof.proven && planned.replaces.length === 0 && brought.complaints.length === 0,
    changed: elementsAdded + elementsDeleted,
    kilobytes: Math.round(listing.length / 1_024),
  }),
);
