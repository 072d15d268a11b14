import { globSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import t from 'tap';
import { parseConfig } from '../../src/config/parse.ts';
import { formatProblem } from '../../src/config/problem.ts';
import { contradictionsOf } from '../../src/segmentation/declare.ts';

// One folder for each kind of mistake: gateway.yaml and the problems it has. UPDATE_GOLDEN=1 rewrites them; the review
// reads the difference.
const files = globSync('test/golden/config/*/gateway.yaml').toSorted();

t.test('the golden folders are there', async (t) => t.ok(files.length >= 19));

for (const file of files) {
  const folder = dirname(file);
  t.test(basename(folder).replaceAll('-', ' '), async (t) => {
    const parsed = parseConfig(
      readFileSync(file, 'utf8'),
      `/plant/${file}`,
      'gateway.yaml',
      contradictionsOf,
    );
    const problems = 'problems' in parsed ? parsed.problems : [];
    const text = problems.map((problem) => `${formatProblem(problem)}\n`).join('');
    const golden = join(folder, 'problems');
    if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(golden, text);

    t.equal(text, readFileSync(golden, 'utf8'));
  });
}
