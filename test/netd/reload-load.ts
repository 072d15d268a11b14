import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { Forwarding, outputOf } from '../support/forwarding.ts';
import { until } from '../support/wait.ts';
import { rulesOf } from '../segmentation/policies.ts';
import { FROM, PORTS, RECEIVER, SENDER, TO } from './reload-plant.ts';

/** delta: as netd does. replace, refill: as others do, in one transaction; see reload.ts. */
export type Method = 'delta' | 'replace' | 'refill';

export interface Wanted {
  readonly method: Method;
  /** Two gateway.yaml, loaded in turns. */
  readonly plants: readonly [string, string];
  readonly reloads: number;
  /** Ends earlier. */
  readonly seconds: number;
  /** Packets a second to each port. */
  readonly rate: number;
  /** For files; has the program packets. */
  readonly folder: string;
  readonly program: string;
}

const changed = z.object({
  reloads: z.number(),
  /** Reloads that changed elements in place, and those that changed rules too. */
  elements: z.number(),
  rules: z.number(),
});

export interface Counted extends z.infer<typeof changed> {
  /** To each of the ports. */
  readonly sent: number;
  readonly lost: { readonly interval: number; readonly hash: number };
  /** Denied ones that arrived. */
  readonly leaked: number;
}

/** Real packets through a gateway whose rules change all the time. None is ever answered, so that each is judged. */
export async function reloadUnderLoad(wanted: Wanted): Promise<Counted> {
  const { folder, program, plants } = wanted;
  const files = plants.map((yaml, i) => {
    const file = join(folder, `plant-${i}.json`);
    writeFileSync(file, rulesOf(yaml));
    return file;
  });
  const [stop, targets] = [join(folder, 'stop'), join(folder, 'targets')];
  writeFileSync(
    targets,
    Object.values(PORTS)
      .map((port) => `${RECEIVER} ${port}\n`)
      .join(''),
  );
  await using bed = await Forwarding.make({ from: FROM, to: TO, ports: Object.values(PORTS) });
  await bed.run('gateway', 'nft', '-j', '-f', files[0] ?? '');
  const sending = outputOf(bed.start('sender', program, 'paced', `${wanted.rate}`, stop, SENDER, targets));
  // Where something else fails, that is what is told.
  sending.catch(() => {});
  await until('packets', async () => ((await bed.arrived()).get(PORTS.hash) ?? 0) > 0);
  const reload = join(new URL('.', import.meta.url).pathname, 'reload.ts');
  const args = [reload, wanted.method, `${wanted.reloads}`, `${wanted.seconds}`, ...files];
  const told = changed.parse(JSON.parse(await bed.run('gateway', process.execPath, ...args)));
  writeFileSync(stop, '');
  const sent = Number(await sending);
  const arrived = await settled(bed);
  const lost = (port: number): number => sent - (arrived.get(port) ?? 0);
  return {
    ...told,
    sent,
    lost: { interval: lost(PORTS.interval), hash: lost(PORTS.hash) },
    leaked: arrived.get(PORTS.denied) ?? 0,
  };
}

/** Nothing is under way any more. */
async function settled(bed: Forwarding): Promise<ReadonlyMap<number, number>> {
  let last = new Map<number, number>() as ReadonlyMap<number, number>;
  await until('the last packet', async () => {
    const before = last;
    last = await bed.arrived();
    return [...last].every(([port, packets]) => before.get(port) === packets);
  });
  return last;
}
