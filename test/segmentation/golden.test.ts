import { spawnSync } from 'node:child_process';
import { globSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import t from 'tap';
import { inNamespace, noRules } from '../support/namespace.ts';
import { rulesOf } from './policies.ts';

// One folder for each kind of policy: gateway.yaml, the JSON for nft, and what nft lists once it is loaded.
// UPDATE_GOLDEN=1 rewrites them; the review reads the difference.
const files = globSync('test/golden/segmentation/*/gateway.yaml').toSorted();
const update = process.env['UPDATE_GOLDEN'] === '1';
const skip = noRules();

/** Other versions word their listings differently; what they load is the same. */
const LISTED_BY = 'v1.0.6';
const version = spawnSync('nft', ['--version'], { encoding: 'utf8' }).stdout ?? '';

const LOAD = `cd "$1"
nft -c -j -f rules.json; nft -j -f rules.json; nft -j -f - <rules.json
nft list ruleset | tee listing; nft flush ruleset; nft -f listing`;

t.test('the golden folders are there', async (t) => t.ok(files.length >= 18));

for (const file of files) {
  const folder = dirname(file);
  t.test(basename(folder).replaceAll('-', ' '), async (t) => {
    const json = rulesOf(readFileSync(file, 'utf8'));
    if (update) writeFileSync(join(folder, 'ruleset.json'), json);
    t.equal(json, readFileSync(join(folder, 'ruleset.json'), 'utf8'));

    t.test('nft loads it, twice, lists it, and can read the listing', { skip }, async (t) => {
      const place = t.testdir({ 'rules.json': json });
      const ran = inNamespace(LOAD, place);
      t.equal(ran.stderr, '');
      t.equal(ran.status, 0);
      const listing = sorted(ran.stdout);
      if (update) writeFileSync(join(folder, 'listing.txt'), listing);
      if (version.includes(LISTED_BY)) t.equal(listing, readFileSync(join(folder, 'listing.txt'), 'utf8'));
      else t.comment(`listings are compared where nft is ${LISTED_BY}`);
    });
  });
}

/** Elements come in the order of the hash: sorted, and one in a line. */
function sorted(listing: string): string {
  return listing.replaceAll(/elements = \{ ([^}]*) \}/g, (_, elements: string) => {
    const lines = elements.split(/,\s+/).toSorted();
    return `elements = {\n${lines.map((line) => `\t\t\t${line},\n`).join('')}\t\t}`;
  });
}
