import { Running, SLUICE } from './process.ts';
import type { Site } from './site.ts';

interface Teardown {
  teardown(after: () => unknown): void;
}

/** The simulated devices of a site, until the test ends. */
export function startPlant(t: Teardown, site: Site): Running {
  const plant = new Running(SLUICE, ['simulate', site.file]);
  t.teardown(async () => plant.stop());
  return plant;
}

/** A gateway whose embedded broker listens; whatever is left of it at the end of the test is killed. */
export async function startGateway(t: Teardown, site: Site): Promise<Running> {
  const gateway = new Running(SLUICE, ['run', site.file]);
  t.teardown(async () => gateway.stop('SIGKILL'));
  await gateway.says(/broker listens/);
  return gateway;
}
