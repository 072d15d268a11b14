import type { Config } from '../config/config.ts';
import { polls, pushes, upstream } from './own-flows.ts';
import { addressesOf, checkPlaces, type Contradiction, isReachable, Plant } from './plant.ts';
import { portGuard } from './port-guard.ts';
import { checkGuards, guardedFlows } from './guarded-flows.ts';
import type { ObservedPair, Policy, PolicyDevice } from './policy.ts';
import { conduits, management, within } from './written-flows.ts';

export type Declared = { readonly policy: Policy } | { readonly problems: readonly Contradiction[] };

/** What gateway.yaml means, as flows between zones. Where segmentation is off, that is nothing. */
export function declare(config: Config): Declared {
  const { mode } = config.segmentation;
  if (mode === 'off') return { policy: { mode, zones: [], flows: [] } };
  const plant = new Plant(config);
  checkPlaces(plant);
  const guarded = guardedFlows(plant);
  const flows = [
    ...polls(plant),
    ...pushes(plant),
    ...upstream(plant),
    ...management(plant),
    ...conduits(plant, guarded.conduits),
    ...guarded.own,
    ...within(plant),
  ];
  checkGuards(plant, flows);
  const { problems, zones } = plant;
  if (problems.length > 0) return { problems };
  const guard = portGuard(config);
  const devices = devicesOf(config);
  return {
    policy: {
      mode,
      zones: [...zones.values()],
      flows,
      devices,
      ...observation(config),
      ...(guard && { guard }),
    },
  };
}

/** What no rule can express is wrong with a file, like a key that is misspelt. */
export function contradictionsOf(config: Config): readonly Contradiction[] {
  const declared = declare(config);
  return 'problems' in declared ? declared.problems : [];
}

/** Several times for two zones: the last one counts. */
function observation({ segmentation, conduits: all }: Config): Pick<Policy, 'observeUntil' | 'observed'> {
  const { mode, observeUntil } = segmentation;
  if (mode === 'observe') return observeUntil === undefined ? {} : { observeUntil };
  const observed = new Map<string, ObservedPair>();
  for (const { from, to, observeUntil: until } of all) {
    if (until === undefined || until < (observed.get(`${from} ${to}`)?.until ?? 0)) continue;
    observed.set(`${from} ${to}`, { from, to, until });
  }
  return observed.size === 0 ? {} : { observed: [...observed.values()] };
}

function devicesOf({ devices }: Config): PolicyDevice[] {
  return devices.filter(isReachable).map(({ name, class: kind, zone, endpoint }) => ({
    name,
    class: kind,
    zone,
    ...addressesOf([endpoint.host]),
  }));
}
