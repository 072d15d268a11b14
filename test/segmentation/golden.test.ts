import { spawnSync } from 'node:child_process';
import { globSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import t from 'tap';
import { parseConfig } from '../../src/config/parse.ts';
import { compile } from '../../src/segmentation/compile.ts';
import { declare } from '../../src/segmentation/declare.ts';
import { render } from '../../src/segmentation/render.ts';
import { inNamespace, noRules } from '../support/namespace.ts';

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
    const json = rendered(file);
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

function rendered(file: string): string {
  const parsed = parseConfig(readFileSync(file, 'utf8'), `/plant/${file}`, 'gateway.yaml');
  if (!('config' in parsed)) throw new Error(JSON.stringify(parsed.problems));
  const declared = declare(parsed.config);
  if (!('policy' in declared)) throw new Error(JSON.stringify(declared.problems));
  return render(compile(declared.policy));
}

/** Elements come in the order of the hash: sorted, and one in a line. */
function sorted(listing: string): string {
  return listing.replaceAll(/elements = \{ ([^}]*) \}/g, (_, elements: string) => {
    const lines = elements.split(/,\s+/).toSorted();
    return `elements = {\n${lines.map((line) => `\t\t\t${line},\n`).join('')}\t\t}`;
  });
}
