import type { Config, DeviceConfig, PointConfig } from '../config/config.ts';
import { systemClock } from '../core/clock.ts';
import { silentLog } from '../core/log.ts';
import { createLines, devicesByEndpoint } from '../drivers/catalogue.ts';
import type { Line, Poll } from '../drivers/driver.ts';
import { loadConfig } from './load.ts';
import { HELP, JSON_TOO, oneFile, parsedOptions } from './options.ts';

const TEXT = `Usage: ./sluice plan [--json] [gateway.yaml]

Shows every request that the gateway will send, with the points that ride on it, how many requests a second each line has to
carry, and what devices send by themselves. Needs no device, no root and no network.
`;

export async function run(args: readonly string[]): Promise<number> {
  const { values, positionals } = parsedOptions('plan', args, { ...HELP, ...JSON_TOO });
  if (values.help) {
    process.stdout.write(TEXT);
    return 0;
  }
  const config = await loadConfig(oneFile('plan', positionals));
  const devices = devicesByEndpoint(config);
  const lines = createLines(config, { clock: systemClock, log: silentLog }).map((line, index) =>
    planned(line, devices[index] ?? [], config),
  );
  process.stdout.write(
    values.json ? `${JSON.stringify({ lines }, undefined, 2)}\n` : lines.map(asText).join('\n'),
  );
  return 0;
}

interface PlannedLine {
  readonly endpoint: string;
  readonly inFlight: number;
  readonly requestsPerSecond: number;
  readonly valuesPerSecond: number;
  readonly requests: readonly PlannedRequest[];
  /** Asked for once, and again when the device falls silent; then it sends each change by itself. */
  readonly observed: readonly string[];
  /** What the device sends to `coap.listen` without being asked. */
  readonly pushed: readonly string[];
}

interface PlannedRequest {
  readonly device: string;
  readonly what: string;
  readonly everyMs: number;
  readonly points: readonly string[];
}

function planned(line: Line, devices: readonly DeviceConfig[], config: Config): PlannedLine {
  const own = devices.flatMap((device) => device.points.flatMap((index) => config.points[index] ?? []));
  const inMode = (mode: 'observe' | 'push'): string[] =>
    own.filter(({ source }) => source.kind === 'coap' && source.mode === mode).map(nameOf);
  return {
    endpoint: line.endpoint,
    inFlight: line.inFlight,
    requestsPerSecond: round(sum(line.polls, () => 1)),
    valuesPerSecond: round(sum(line.polls, ({ points }) => points.length)),
    requests: line.polls.map(({ device, what, every, points }) => ({
      device,
      what,
      everyMs: every,
      points: points.map((index) => config.points[index]?.name ?? ''),
    })),
    observed: inMode('observe'),
    pushed: inMode('push'),
  };
}

const sum = (polls: readonly Poll[], of: (poll: Poll) => number): number =>
  polls.reduce((total, poll) => total + (of(poll) * 1_000) / poll.every, 0);

const round = (value: number): number => Math.round(value * 100) / 100;

const nameOf = ({ device, name }: PointConfig): string => `${device}/${name}`;

function asText(line: PlannedLine): string {
  const { endpoint, inFlight, requestsPerSecond, valuesPerSecond, requests, observed, pushed } = line;
  const head = `${endpoint}  ${requestsPerSecond} requests/s, ${valuesPerSecond} values/s, ${inFlight} at a time\n`;
  const body = requests.map(
    ({ device, what, everyMs, points }) =>
      `  every ${everyMs} ms  ${device}  ${what}: ${points.length > 8 ? `${points.length} points` : points.join(' ')}\n`,
  );
  const registered = observed.length > 0 ? `  observed: ${observed.join(' ')}\n` : '';
  const sent = pushed.length > 0 ? `  pushed by the device: ${pushed.join(' ')}\n` : '';
  return head + body.join('') + registered + sent;
}
