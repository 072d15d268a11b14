// A program: node shadows-here.ts GATEWAY.YAML. Prints what undermines its rules in this network namespace.
import { readFileSync } from 'node:fs';
import { findShadows } from '../../src/netd/shadow.ts';
import { policyOf } from '../segmentation/policies.ts';

console.log(
  JSON.stringify(await findShadows(policyOf(readFileSync(process.argv[2] ?? '', 'utf8')), () => false)),
);
