import { parseConfig } from '../../src/config/parse.ts';
import { closed } from '../../src/segmentation/closed.ts';
import { compile } from '../../src/segmentation/compile.ts';
import { declare } from '../../src/segmentation/declare.ts';
import type { Policy } from '../../src/segmentation/policy.ts';
import { render } from '../../src/segmentation/render.ts';

/** What a gateway.yaml declares; throws where it is wrong. */
export function policyOf(yaml: string): Policy {
  const parsed = parseConfig(yaml, '/plant/gateway.yaml', 'gateway.yaml');
  if (!('config' in parsed)) throw new Error(JSON.stringify(parsed.problems));
  const declared = declare(parsed.config);
  if (!('policy' in declared)) throw new Error(JSON.stringify(declared.problems));
  return declared.policy;
}

/** The JSON that nft is given for a gateway.yaml. */
export const rulesOf = (yaml: string): string => render(compile(policyOf(yaml)));

/** What is loaded where those cannot be had: management alone. */
export const closedRulesOf = (yaml: string): string => render(compile(closed(policyOf(yaml))));
