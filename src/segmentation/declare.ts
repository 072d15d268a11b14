import type { Config } from '../config/config.ts';
import { polls, pushes, upstream } from './own-flows.ts';
import { checkPlaces, type Contradiction, Plant } from './plant.ts';
import type { Policy } from './policy.ts';
import { conduits, management, within } from './written-flows.ts';

export type Declared = { readonly policy: Policy } | { readonly problems: readonly Contradiction[] };

/** What gateway.yaml means, as flows between zones. Where segmentation is off, that is nothing. */
export function declare(config: Config): Declared {
  const { mode } = config.segmentation;
  if (mode === 'off') return { policy: { mode, zones: [], flows: [] } };
  const plant = new Plant(config);
  checkPlaces(plant);
  const flows = [
    ...polls(plant),
    ...pushes(plant),
    ...upstream(plant),
    ...management(plant),
    ...conduits(plant),
    ...within(plant),
  ];
  const { problems, zones } = plant;
  return problems.length > 0 ? { problems } : { policy: { mode, zones: [...zones.values()], flows } };
}
