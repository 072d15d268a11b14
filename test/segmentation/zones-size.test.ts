import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { MOST_ZONES } from '../../src/config/segmentation.ts';
import { compile } from '../../src/segmentation/compile.ts';
import { delta } from '../../src/segmentation/delta.ts';
import { prove } from '../../src/segmentation/prove.ts';
import { render } from '../../src/segmentation/render.ts';
import { long } from '../support/long.ts';
import { inNamespace, noRules } from '../support/namespace.ts';
import { policyOf } from './policies.ts';

// What many zones cost: each two of them have a chain that counts what it drops, whether a conduit is between them or not.

const skip = noRules();
/** Then netd ends nft (src/netd/nft.ts). */
const LOADS_WITHIN = 30_000;

/** Ten conduits from each zone. */
function plant(count: number): string {
  const zones = Array.from(
    { length: count },
    (_, i) => `  z${i}: { vlan: ${i + 1}, subnet: 10.0.${i}.0/24 }`,
  );
  const conduits = zones.flatMap((_, i) =>
    Array.from(
      { length: 10 },
      (_, step) => `  - { from: z${i}, to: z${(i + step + 1) % count}, allow: [ssh], because: w }`,
    ),
  );
  return `
gateway: { id: plant }
zones:
${zones.join('\n')}
conduits:
${conduits.join('\n')}
segmentation: { mode: enforce, management: { zone: z0, from: [10.0.0.9], allow: [ssh] } }
`;
}

for (const count of [20, MOST_ZONES]) {
  t.test(`${count} zones with ten conduits each`, { skip: skip || (count > 20 && long) }, async (t) => {
    const timed = <T>(what: string, work: () => T): T => {
      const from = performance.now();
      const result = work();
      t.comment(`${what}: ${Math.round(performance.now() - from)} ms`);
      return result;
    };
    const policy = policyOf(plant(count));
    const ruleset = timed('compile', () => compile(policy));
    const json = timed('render', () => render(ruleset));
    const rules = ruleset.chains.reduce((sum, chain) => sum + chain.rules.length, 0);
    t.ok(
      rules < 3 * (count + 1) ** 2 + 6 * 10 * count + 200,
      `${rules} rules: three for each two zones, six a conduit`,
    );

    const folder = t.testdir({ 'rules.json': json });
    const ran = inNamespace(
      `cd "$1"; from=$(date +%s%N); nft -j -f rules.json; loaded=$(date +%s%N)
nft -j list table inet sluice >listing; listed=$(date +%s%N)
echo $(((loaded - from) / 1000000)) $(((listed - loaded) / 1000000))`,
      folder,
    );
    t.equal(ran.stderr, '');
    const [load = Number.NaN, list] = ran.stdout.split(' ').map(Number);
    t.comment(`load: ${load} ms, list: ${list} ms, ${rules} rules, ${json.length >> 10} kB`);
    t.ok(load < LOADS_WITHIN, `nft loads it in ${load} ms`);

    const listing = readFileSync(join(folder, 'listing'), 'utf8');
    t.equal(timed('proof', () => prove(policy, listing)).proven, true);
    t.equal(timed('plan', () => delta(listing, json)).document, undefined, 'and nothing differs');
    t.comment(`at most ${process.resourceUsage().maxRSS >> 10} MB`);
  });
}
