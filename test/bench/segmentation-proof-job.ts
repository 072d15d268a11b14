// A program: node segmentation-proof-job.ts GATEWAY.yaml LISTING.json: proves once, cold, as a command does. Tells a JSON object.
import { readFileSync } from 'node:fs';
import { prove } from '../../src/segmentation/prove.ts';
import { policyOf } from '../segmentation/policies.ts';
import { peakMemory } from './measure.ts';

const [file = '', listed = ''] = process.argv.slice(2);
const policy = policyOf(readFileSync(file, 'utf8'));
const listing = readFileSync(listed, 'utf8');
const before = peakMemory(process.pid);
const [began, spent] = [performance.now(), process.cpuUsage()];
const { proven } = prove(policy, listing);
const ms = performance.now() - began;
const { user, system } = process.cpuUsage(spent);
const cpu = (user + system) / 1_000;
console.log(JSON.stringify({ proven, ms, cpu, before, memory: peakMemory(process.pid) }));
