// A program: node apply-within.ts DATA GATEWAY.YAML MILLISECONDS
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { errorText } from '../../src/core/errors.ts';
import { milliseconds } from '../../src/core/units.ts';
import { Firewall } from '../../src/netd/firewall.ts';
import { policyOf } from '../segmentation/policies.ts';

const [data = '', file = '', within = ''] = process.argv.slice(2);
try {
  const firewall = new Firewall(resolve(data));
  const applied = await firewall.apply(policyOf(readFileSync(file, 'utf8')), milliseconds(Number(within)));
  console.log(JSON.stringify(applied));
} catch (error) {
  console.error(errorText(error));
  process.exitCode = 1;
}
