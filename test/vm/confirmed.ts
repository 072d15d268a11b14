// A program in the guest: what a confirmation of units.yaml leaves on the disk.
import { readFileSync } from 'node:fs';
import { State } from '../../src/netd/state.ts';
import { closedRulesOf, rulesOf } from '../segmentation/policies.ts';

const yaml = readFileSync('/etc/sluice/gateway.yaml', 'utf8');
const state = new State('/var/lib/sluice');
state.prepare();
state.confirm(rulesOf(yaml));
state.keepClosed(closedRulesOf(yaml));
