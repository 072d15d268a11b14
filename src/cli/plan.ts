import type { Config, PointConfig } from '../config/config.ts';
import { systemClock } from '../core/clock.ts';
import { silentLog } from '../core/log.ts';
import { createLines } from '../drivers/catalogue.ts';
import type { Line, Poll } from '../drivers/driver.ts';
import { loadConfig } from './load.ts';
import { HELP, JSON_TOO, oneFile, parsedOptions } from './options.ts';

const TEXT = `Usage: ./sluice plan [--json] [gateway.yaml]

Shows every request that the gateway will send, with the points that ride on it, and how many requests a second each
line has to carry. Needs no device, no root and no network.
`;

export async function run(args: readonly string[]): Promise<number> {
  const { values, positionals } = parsedOptions('plan', args, { ...HELP, ...JSON_TOO });
  if (values.help) {
    process.stdout.write(TEXT);
    return 0;
  }
  const config = await loadConfig(oneFile('plan', positionals));
  const lines = createLines(config, { clock: systemClock, log: silentLog }).map((line) =>
    planned(line, config),
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
  /** Points that the device sends by itself. */
  readonly unsolicited: readonly string[];
}

interface PlannedRequest {
  readonly device: string;
  readonly what: string;
  readonly everyMs: number;
  readonly points: readonly string[];
}

function planned(line: Line, config: Config): PlannedLine {
  const polled = new Set(line.polls.flatMap(({ points }) => points));
  const devices = new Set(line.polls.map(({ device }) => device));
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
    unsolicited: config.points
      .filter((point) => devices.has(point.device) && !polled.has(point.index))
      .map(nameOf),
  };
}

const sum = (polls: readonly Poll[], of: (poll: Poll) => number): number =>
  polls.reduce((total, poll) => total + (of(poll) * 1_000) / poll.every, 0);

const round = (value: number): number => Math.round(value * 100) / 100;

const nameOf = ({ device, name }: PointConfig): string => `${device}/${name}`;

function asText(line: PlannedLine): string {
  const { endpoint, inFlight, requestsPerSecond, valuesPerSecond, requests, unsolicited } = line;
  const head = `${endpoint}  ${requestsPerSecond} requests/s, ${valuesPerSecond} values/s, ${inFlight} at a time\n`;
  const body = requests.map(
    ({ device, what, everyMs, points }) =>
      `  every ${everyMs} ms  ${device}  ${what}: ${points.length > 8 ? `${points.length} points` : points.join(' ')}\n`,
  );
  const tail = unsolicited.length > 0 ? `  sent by the device: ${unsolicited.join(' ')}\n` : '';
  return head + body.join('') + tail;
}
