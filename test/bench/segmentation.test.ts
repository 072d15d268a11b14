import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { policyOf, rulesOf } from '../segmentation/policies.ts';
import { Forwarding, noForwarding, packetSender } from '../support/forwarding.ts';
import { median } from './segmentation-figures.ts';
import {
  addressesOf,
  conduitsYaml,
  FIELD,
  gatewayYaml,
  HMI,
  linearRules,
  PORT,
  SUPERVISION,
} from './segmentation-plant.ts';

// A comparison is worth nothing where the two do not allow the same, or where a packet that is lost is not missed.

const DEVICES = 5;

t.test('the rules that are compared let the same packets pass', { skip: noForwarding() }, async (t) => {
  const linear = linearRules(DEVICES);
  const folder = t.testdir({ sluice: rulesOf(gatewayYaml(DEVICES)), linear });
  const program = packetSender(folder);
  const targets = join(folder, 'targets');
  // A device more than the rules know.
  writeFileSync(
    targets,
    addressesOf(DEVICES + 1)
      .map((address) => `${address} ${PORT}\n`)
      .join(''),
  );
  for (const [rules, options, arrives] of [
    [undefined, [], DEVICES + 1],
    ['sluice', ['-j'], DEVICES],
    ['linear', [], DEVICES],
  ] as const) {
    await using bed = await Forwarding.make({ from: SUPERVISION, to: FIELD, ports: [PORT] });
    if (rules !== undefined) await bed.run('gateway', 'nft', ...options, '-f', join(folder, rules));
    await bed.run('sender', program, 'once', HMI, targets);
    t.same([...(await bed.arrived())], [[PORT, arrives]], rules ?? 'none');
  }
});

t.test('the plant of many conduits has four hundred', (t) => {
  const { flows } = policyOf(conduitsYaml());
  t.equal(flows.filter(({ kind }) => kind === 'conduit').length, 400);
  t.end();
});

t.test('the median is one of the figures, or lies between the two in the middle', (t) => {
  t.equal(median([9, 1, 5]), 5);
  t.equal(median([4, 1, 9, 2]), 3);
  t.ok(Number.isNaN(median([])));
  t.end();
});
