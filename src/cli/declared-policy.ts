import { SluiceError } from '../core/errors.ts';
import { declare } from '../segmentation/declare.ts';
import type { Policy } from '../segmentation/policy.ts';
import { loadConfig } from './load.ts';

/** What a configuration declares. What is wrong goes to standard error, all of it; then throws CONFIG_INVALID. */
export async function declaredPolicy(file: string): Promise<Policy> {
  const declared = declare(await loadConfig(file));
  if ('policy' in declared) return declared.policy;
  throw new SluiceError('CONFIG_INVALID', `${file} contradicts itself: ${declared.problems[0]?.found}`);
}
