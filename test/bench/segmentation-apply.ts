import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { noRules } from '../support/namespace.ts';
import { type Bench, type Result, type Scenario, target } from './scenario.ts';
import { loadAverage, outputIn, skipped } from './segmentation-figures.ts';
import { conduitsYaml, gatewayYaml } from './segmentation-plant.ts';
import { whole } from './table.ts';

const PLANTS: readonly { readonly name: string; readonly yaml: typeof conduitsYaml }[] = [
  ...[10, 1_000, 10_000].map((devices) => ({
    name: `${whole(devices)} devices`,
    yaml: (options: { readonly without?: number } = {}) => gatewayYaml(devices, options),
  })),
  { name: '1,000 devices, 400 conduits', yaml: conduitsYaml },
];
const PROMISED = PLANTS.length - 1;
const PROMISE_MS = 2_000;

const done = z.object({
  steps: z.array(z.object({ step: z.string(), ms: z.number(), cpu: z.number() })),
  proven: z.boolean(),
  changed: z.number(),
  kilobytes: z.number(),
});
const proof = z.object({
  proven: z.boolean(),
  ms: z.number(),
  cpu: z.number(),
  before: z.number(),
  memory: z.number(),
});

interface Run {
  readonly name: string;
  readonly done: z.infer<typeof done>;
  readonly proof: z.infer<typeof proof>;
}

async function runOf(bench: Bench, index: number): Promise<Run> {
  const { name = '', yaml = conduitsYaml } = PLANTS[index] ?? {};
  const folder = bench.directory(`apply-${index}`);
  const [now, before] = [join(folder, 'gateway.yaml'), join(folder, 'before.yaml')];
  writeFileSync(now, yaml());
  writeFileSync(before, yaml({ without: 1 }));
  const job = await outputIn(bench, 'unshare', ['-n'], 'segmentation-job.ts', [now, before, folder]);
  const args = [now, join(folder, 'listing.json')];
  const proven = await outputIn(bench, 'env', [], 'segmentation-proof-job.ts', args);
  return { name, done: done.parse(job), proof: proof.parse(proven) };
}

/** How long does a change take, from gateway.yaml to the proof? */
export const applying: Scenario = {
  name: 'apply',
  about: 'from gateway.yaml to rules that are proven: each step, by the number of devices',
  async run(bench): Promise<Result> {
    const reason = noRules() || (process.getuid?.() !== 0 && 'applying needs root');
    if (reason !== false) return skipped(this.name, reason);
    const runs: Run[] = [];
    for (let i = 0; i < PLANTS.length; i += 1) runs.push(await runOf(bench, i));
    const promised = runs[PROMISED]?.proof;
    return {
      scenario: this.name,
      load: 'one device more in gateway.yaml than in the kernel; a namespace and a process for each plant',
      spreadOf: '',
      rows: [],
      sheet: {
        head: ['wall ms (CPU ms of this process)', ...(runs[0]?.done.steps ?? []).map(({ step }) => step)],
        lines: runs.map((run) => [
          run.name,
          ...run.done.steps.map(({ ms, cpu }) => `${whole(ms)} (${whole(cpu)})`),
        ]),
      },
      notes: [
        'one device: listed, delta, loaded and read back; prove: warm, after the steps before; apply: all of it, with guards and files, and confirmed',
        ...runs.map(
          ({ name, done: { kilobytes }, proof: { ms, cpu, before, memory } }) =>
            `${name}: ${whole(kilobytes)} kB of listing, proven by a process of its own in ${whole(ms)} ms (${whole(cpu)} ms CPU), ` +
            `peak ${(memory / 1e6).toFixed(0)} MB, ${((memory - before) / 1e6).toFixed(0)} more than before the proof`,
        ),
        loadAverage(),
        target(
          `1,000 devices and 400 conduits are proven within ${PROMISE_MS / 1_000} s of a core: ${((promised?.cpu ?? 0) / 1_000).toFixed(2)} s`,
          promised !== undefined && promised.cpu < PROMISE_MS,
        ),
      ],
      faults: runs.flatMap(({ name, done: one, proof: second }) =>
        one.proven && second.proven ? [] : [`${name}: not proven, or not by elements alone`],
      ),
    };
  },
};
