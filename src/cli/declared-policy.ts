import type { Config } from '../config/config.ts';
import { SluiceError } from '../core/errors.ts';
import { declare } from '../segmentation/declare.ts';
import type { Policy } from '../segmentation/policy.ts';
import { loadChecked } from './load.ts';

/** What a configuration declares. What is wrong goes to standard error, all of it; then throws CONFIG_INVALID. */
export async function declaredPolicy(file: string): Promise<Policy> {
  return (await declaredPlant(file)).policy;
}

/** The same, with the configuration itself. */
export async function declaredPlant(
  file: string,
): Promise<{ readonly config: Config; readonly policy: Policy }> {
  const { config, place } = await loadChecked(file);
  const declared = declare(config);
  if ('problems' in declared) {
    throw new SluiceError('CONFIG_INVALID', `${file} contradicts itself: ${declared.problems[0]?.found}`);
  }
  const placeOf = (path: string): string => {
    const { line, column } = place({ path, found: '', fix: '' });
    return `${file}:${line}:${column}`;
  };
  return { config, policy: { ...declared.policy, placeOf } };
}
