import t from 'tap';
import { startGateway, startPlant } from '../support/running-site.ts';
import { makeSite } from '../support/site.ts';
import { until } from '../support/wait.ts';

interface Told {
  readonly what?: string;
  readonly device?: string;
  readonly point?: string;
  readonly value?: unknown;
  readonly quality?: string;
  readonly min?: number;
  readonly max?: number;
  readonly read?: number;
  readonly reported?: number;
}

function isTold(value: unknown): value is Told {
  return typeof value === 'object' && value !== null && 'what' in value;
}

t.test('SIGUSR2 tells what each point did, counted before the filter', async (t) => {
  const site = await makeSite();
  t.teardown(() => site.remove());
  startPlant(t, site);
  const gateway = await startGateway(t, site);
  const told = (): Told[] =>
    gateway.err
      .map((line): unknown => JSON.parse(line))
      .filter(isTold)
      .filter(({ what }) => what === 'point');
  const latest = (device: string, point: string) =>
    told().findLast((one) => one.device === device && one.point === point);

  const voltage = await until('a voltage that was read often', () => {
    process.kill(gateway.pid, 'SIGUSR2');
    const one = latest('meter-1', 'voltage');
    return one?.quality === 'good' && (one.read ?? 0) > 0 ? one : undefined;
  });
  t.ok(Number(voltage.value) > 180 && Number(voltage.value) < 260, `${String(voltage.value)} V`);
  t.ok((voltage.min ?? 0) <= (voltage.max ?? 0));
  const names = new Set(told().map(({ device, point }) => `${device}/${point}`));
  t.equal(names.size, 4 + 4 + 3 + 2, 'every point is told');

  // A switch that stays is read again and again, and not reported again.
  const still = await until('a switch that only was read', () => {
    process.kill(gateway.pid, 'SIGUSR2');
    const one = latest('press-1', 'breaker');
    return one?.reported === 0 && (one.read ?? 0) > 0 ? one : undefined;
  });
  t.equal(typeof still.value, 'boolean');
  t.equal(await gateway.stop(), 0);
});
