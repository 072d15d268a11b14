// A program: node apply-within.ts DATA GATEWAY.YAML MILLISECONDS [FLOW...]; the flows must work within that time too.
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { errorText } from '../../src/core/errors.ts';
import { milliseconds } from '../../src/core/units.ts';
import { Firewall } from '../../src/netd/firewall.ts';
import { policyOf } from '../segmentation/policies.ts';

const [data = '', file = '', time = '', ...flows] = process.argv.slice(2);
const within = milliseconds(Number(time));
try {
  const firewall = new Firewall(resolve(data));
  const policy = policyOf(readFileSync(file, 'utf8'));
  const applied = await firewall.apply(policy, within, {}, { flows, within });
  console.log(JSON.stringify(applied));
} catch (error) {
  console.error(errorText(error));
  process.exitCode = 1;
}
