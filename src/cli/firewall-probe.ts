import type { Config } from '../config/config.ts';
import { systemClock } from '../core/clock.ts';
import { SluiceError } from '../core/errors.ts';
import { probeTwin } from '../netd/twin.ts';
import { compile } from '../segmentation/compile.ts';
import { type GuardedConduit, guardsOf } from '../segmentation/guards.ts';
import type { Policy } from '../segmentation/policy.ts';
import { policyAt } from '../segmentation/policy-at.ts';
import { render } from '../segmentation/render.ts';
import { twinCells } from '../segmentation/twin-cells.ts';
import { twinPlant } from '../segmentation/twin-hosts.ts';
import { claimCells } from '../segmentation/twin-ports.ts';
import { requestCells } from '../segmentation/twin-requests.ts';
import { declaredPlant } from './declared-policy.ts';
import { differences, type Probed, wasCounted } from './firewall-probe-result.ts';
import { forMachine, forPerson } from './firewall-probe-text.ts';
import { Progress } from './progress.ts';
import { untilInterrupted } from './until-interrupted.ts';

// Real packets through a twin of the plant, and what became of them.

const GUARD = new URL('firewall-probe-guard.ts', import.meta.url).pathname;

export async function runProbe(file: string, json: boolean): Promise<number> {
  const { config, policy } = await declaredPlant(file);
  if (policy.mode === 'off') {
    throw new SluiceError('SETUP', 'segmentation is off: there are no rules to probe', {
      remedy: 'set segmentation.mode to observe or enforce',
    });
  }
  if (process.getuid?.() !== 0) {
    throw new SluiceError('SETUP', 'only root may make network namespaces', { remedy: 'run this as root' });
  }
  const probed = await untilInterrupted('probe', 'nothing is left of the twin', async (signal) =>
    probePolicy(policy, signal, {
      documents: [render(compile(policy))],
      guards: { of: guardsOf(config), file },
      ports: portsOf(config),
    }),
  );
  process.stdout.write(json ? `${JSON.stringify(forMachine(probed))}\n` : forPerson(probed));
  return differences(probed).length === 0 && wasCounted(probed) ? 0 : 1;
}

export const portsOf = ({ zones }: Config): ReadonlyMap<string, readonly string[]> =>
  new Map(zones.map(({ name, ports }) => [name, ports]));

interface Loaded {
  /** What nft loads in the gateway of the twin. */
  readonly documents: readonly string[];
  /** Access ports of each zone, by its name. */
  readonly ports: ReadonlyMap<string, readonly string[]>;
  /** Conduits that are looked into, and the file that says so. */
  readonly guards: { readonly of: readonly GuardedConduit[]; readonly file: string };
}

export async function probePolicy(
  declared: Policy,
  signal: AbortSignal,
  { documents, guards, ports }: Loaded,
): Promise<Probed> {
  // The kernel that the packets go through goes by the clock, too.
  const policy = policyAt(declared, systemClock.now());
  const plant = twinPlant(policy, ports);
  const cells = twinCells(policy, plant, {
    requests: requestCells(policy, plant, guards.of),
    claims: claimCells(policy, plant),
  });
  const isGuarded = guards.of.some(({ limits }) => limits.grade === 'enforced');
  let text = `building a twin of ${plant.hosts.length} hosts`;
  const progress = new Progress(() => text);
  progress.show();
  try {
    const { seen, counters } = await probeTwin(plant, cells.cells, {
      documents,
      beside: isGuarded ? [GUARD, guards.file] : undefined,
      signal,
      progress: (done, all) => {
        text = `${done} of ${all} packets probed`;
        progress.show();
      },
    });
    const wouldDeny = [...counters].reduce(
      (sum, [name, packets]) => sum + (name.startsWith('n_would_deny_') ? packets : 0),
      0,
    );
    return { plant, cells, seen, mode: policy.mode, wouldDeny };
  } finally {
    progress.end();
  }
}
