import { SluiceError } from '../core/errors.ts';
import { visible } from '../core/visible.ts';
import { declare } from '../segmentation/declare.ts';
import type { Policy } from '../segmentation/policy.ts';
import { loadConfig } from './load.ts';

/** What a configuration declares. Contradictions go to standard error, every one of them; then throws CONFIG_INVALID. */
export async function declaredPolicy(file: string): Promise<Policy> {
  const declared = declare(await loadConfig(file));
  if ('policy' in declared) return declared.policy;
  const { problems } = declared;
  for (const { path, found, fix } of problems) {
    process.stderr.write(`${visible(`${file}: ${path}: ${found}; ${fix}`)}\n`);
  }
  const count = problems.length === 1 ? 'a contradiction' : `${problems.length} contradictions`;
  throw new SluiceError('CONFIG_INVALID', `${file} has ${count} that no rule can express`, {
    remedy: 'nothing was printed',
  });
}
