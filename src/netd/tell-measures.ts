import { formatDuration } from '../config/duration.ts';
import { type Duration, milliseconds } from '../core/units.ts';
import { visible } from '../core/visible.ts';
import type { Status } from './outcome.ts';
import type { Cut } from './in-force.ts';
import type { Quarantined, Released } from './measures.ts';
import { type Entry, leftOf } from './quarantine-book.ts';
import type { Told } from './tell.ts';

// What came of measures that change no declaration.

export function quarantinedTold({ entry, notEnforced, notSeen, isLonger, cut }: Quarantined): Told {
  const warnings = [
    notEnforced,
    notSeen && `which addresses it uses beside these is not known: ${visible(notSeen)}`,
    isLonger ? 'it was there for longer already, and stays so; ./sluice release ends it' : undefined,
  ].filter((text) => text !== undefined);
  return {
    result: { ...entryFor(entry), enforced: notEnforced === undefined, ...cutFor(cut) },
    text: `${visible(entry.device)} is in quarantine (${endsText(entry)})${lastsText(entry)}
${warnings.map((text) => `  warning: ${text}\n`).join('')}${cutText(cut)}`,
    good: notEnforced === undefined,
  };
}

const endsText = ({ mac, addresses }: Entry): string =>
  [...(mac === undefined ? [] : [mac]), ...addresses].join(', ');

export function releasedTold({ released, others }: Released): Told {
  const held = others.map(
    (one) =>
      `  warning: ${visible(one.device)} (${endsText(one)}) is still in quarantine, and holds it back too\n`,
  );
  return {
    result: {
      released: released.map(({ device }) => device),
      'held-by': others.map(({ device }) => device),
    },
    text: `${released.map(({ device }) => `${visible(device)} is released\n`).join('')}${held.join('')}`,
    good: true,
  };
}

export function listTold(entries: readonly Entry[]): Told {
  return {
    result: { quarantined: entries.map(entryFor) },
    text: entries.length === 0 ? 'nobody is in quarantine\n' : `${entries.map(entryLine).join('\n')}\n`,
    good: true,
  };
}

export const islandTold = ({ cut }: { readonly cut: Cut }): Told => ({
  result: { island: true, ...cutFor(cut) },
  text: `every conduit is cut, proven; zones go on within themselves, and management reaches the gateway
${cutText(cut)}  ./sluice firewall rejoin ends it
`,
  good: true,
});

export const rejoinedTold = (): Told => ({
  result: { island: false },
  text: 'the conduits are open again, as declared\n',
  good: true,
});

export function cutText({ connections, problem }: Cut): string {
  const some = connections === 0 ? '' : `  ${connections} connections that are forbidden now were cut\n`;
  if (problem === undefined) return some;
  return `${some}  warning: connections that are forbidden now may go on until they end by themselves: ${visible(problem)}\n`;
}

const cutFor = ({ connections, problem }: Cut): object => ({ cut: connections, 'not-cut': problem ?? null });

type Measures = Pick<Status, 'island' | 'quarantined'>;

export const measuresFor = ({ island, quarantined }: Measures): object => ({
  island: island === undefined ? null : { ...island, since: new Date(island.since).toISOString() },
  quarantined: quarantined.map(entryFor),
});

export function measuresLines({ island, quarantined }: Measures): string[] {
  const cut =
    island === undefined
      ? []
      : [
          `the gateway is an island since ${new Date(island.since).toISOString()}: ${visible(island.because)} (${visible(island.who)})`,
        ];
  return [...cut, ...quarantined.map((entry) => `in quarantine: ${entryLine(entry)}`)];
}

function entryFor({ device, mac, addresses, who, because, since, left }: Entry): object {
  return {
    device,
    mac: mac ?? null,
    addresses,
    who,
    because,
    since: new Date(since).toISOString(),
    'left-ms': left === undefined ? null : leftOf(left),
  };
}

const entryLine = (entry: Entry): string =>
  visible(
    `${entry.device}${endsText(entry) === entry.device ? '' : ` (${endsText(entry)})`} since ${new Date(entry.since).toISOString()}${lastsText(entry)}: ${entry.because} (${entry.who})`,
  );

function lastsText({ left }: Entry): string {
  if (left !== undefined && leftOf(left) === 0) return ', over, released by the next change';
  return left === undefined
    ? ', until it is released'
    : `, for ${formatDuration(wholeSeconds(leftOf(left)))}`;
}

const wholeSeconds = (left: Duration): Duration => milliseconds(Math.ceil(left / 1_000) * 1_000);
