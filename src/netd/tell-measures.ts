import { formatDuration } from '../config/duration.ts';
import { GATEWAY } from '../config/zones.ts';
import { counted } from '../core/counted.ts';
import { SluiceError } from '../core/errors.ts';
import { milliseconds } from '../core/units.ts';
import { visible } from '../core/visible.ts';
import { servicesText } from '../segmentation/access-text.ts';
import type { Managing } from '../segmentation/suspects.ts';
import type { Listing, Status } from './outcome.ts';
import type { Cut } from './in-force.ts';
import type { Islanded, Quarantined, Released } from './measures.ts';
import { type Entry, leftOf } from './quarantine-book.ts';
import { isObject } from './request.ts';
import type { Told } from './tell.ts';

// What came of measures that change no declaration.

export interface Asked {
  /** Could the file be gone by? */
  readonly isKnown: boolean;
  /** Devices that no packet can be told apart from it. */
  readonly beside: readonly string[];
}

export function quarantinedTold(done: Quarantined, asked: Asked): Told {
  const { entry, notEnforced, notSeen, managing, isLonger, cut } = done;
  const warnings = [
    notEnforced,
    ...doubts(done),
    ...reachTexts(managing),
    ...besideTexts(asked),
    notSeen && `which addresses it uses beside these is not known: ${visible(notSeen)}`,
    isLonger
      ? `it was there for longer already, and stays so; ./sluice release ${visible(entry.device)} ends it`
      : undefined,
  ].filter((text) => text !== undefined);
  const one = entryFor(entry);
  const { device } = one;
  return {
    result: {
      ...one,
      beside: asked.beside,
      enforced: notEnforced === undefined,
      'still-reaches': managing.flatMap(({ address, traffic }) =>
        traffic.map(({ protocol, ports }) => ({ from: address, to: GATEWAY, protocol, ports })),
      ),
      ...doubtsFor(done),
      ...cutFor(cut),
    },
    text: `${visible(device)} is in quarantine (${endsText(one)})${lastsText(one)}
${warnings.map((text) => `  warning: ${text}\n`).join('')}${cutText(cut)}`,
    good: notEnforced === undefined,
  };
}

const reachTexts = (managing: readonly Managing[]): string[] =>
  managing.map(
    ({ address, traffic }) =>
      `${address} still reaches the gateway by ${servicesText(traffic)}: segmentation.management is never held back`,
  );

const besideTexts = ({ isKnown, beside }: Asked): string[] => [
  ...(beside.length === 0
    ? []
    : [`cut off with it, as they are behind the same address: ${beside.map(visible).join(', ')}`]),
  ...(isKnown
    ? []
    : [
        'the file cannot be gone by just now, so that nothing else is cut off that a device has beside this; ./sluice check, then say it again',
      ]),
];

const endsText = ({ mac, addresses }: Pick<Listed, 'mac' | 'addresses'>): string =>
  [...(mac === null ? [] : [mac]), ...addresses].join(', ');

export function releasedTold({ released, others }: Released): Told {
  const held = others.map(
    (one) =>
      `  warning: ${visible(one.device)} (${endsText(entryFor(one))}) is still in quarantine, and holds it back too\n`,
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

export const listTold = ({ entries, isEnforced }: Listing): Told =>
  listedTold(entries.map(entryFor), isEnforced);

/** The same of what netd answers to status. */
export function listOfStatus(result: object): Told {
  const { quarantined, enforced }: Readonly<Record<string, unknown>> = isObject(result) ? result : {};
  const all: readonly unknown[] = Array.isArray(quarantined) ? quarantined : [undefined];
  const isEnforced = typeof enforced === 'boolean' ? enforced : undefined;
  if (all.every(isListed) && enforced !== undefined) return listedTold(all, isEnforced);
  throw new SluiceError('SETUP', 'netd does not say who is in quarantine', {
    remedy: 'restart netd after an update: systemctl restart sluice-netd',
  });
}

function listedTold(quarantined: readonly Listed[], isEnforced: boolean | undefined): Told {
  const result = { quarantined, enforced: isEnforced ?? null };
  if (quarantined.length === 0) return { result, text: 'nobody is in quarantine\n', good: true };
  const good = isEnforced !== false;
  const lines = [
    ...quarantined.map(listedLine),
    ...(good ? [] : ['nothing enforces it: the kernel holds no rules that could']),
  ];
  return { result, text: `${lines.join('\n')}\n`, good };
}

/** Somebody in quarantine as --json prints it. */
interface Listed {
  readonly device: string;
  readonly mac: string | null;
  readonly addresses: readonly string[];
  readonly who: string;
  readonly because: string;
  readonly since: string;
  readonly 'left-ms': number | null;
}

function isListed(json: unknown): json is Listed {
  if (!isObject(json)) return false;
  const { mac, addresses, 'left-ms': left } = json;
  const texts = ['device', 'who', 'because', 'since'].every((key) => typeof json[key] === 'string');
  const ends = Array.isArray(addresses) && addresses.every((one) => typeof one === 'string');
  return (
    texts && ends && (mac === null || typeof mac === 'string') && (left === null || typeof left === 'number')
  );
}

const CUT = 'every conduit is cut, proven; zones go on within themselves, and management reaches the gateway';
const CUT_LATER = `a start has closed, and nothing but management is let through: so it stays
  every conduit is cut in what ./sluice firewall rollback, or the next start, loads`;

export const islandTold = ({ cut, later, ...how }: Islanded): Told => ({
  result: { island: true, ...doubtsFor(how), ...cutFor(cut) },
  text: `${later ? CUT_LATER : CUT}
${doubts(how)
  .map((line) => `  warning: ${line}\n`)
  .join('')}${cutText(cut)}  ./sluice firewall rejoin ends it
`,
  good: true,
});

export const rejoinedTold = (): Told => ({
  result: { island: false },
  text: 'the conduits are open again, as declared\n',
  good: true,
});

export function cutText({ connections, problem }: Cut): string {
  const some = connections === 0 ? '' : `  cut: ${counted(connections, 'connection')}, forbidden now\n`;
  if (problem === undefined) return some;
  return `${some}  warning: connections that are forbidden now may go on until they end by themselves: ${visible(problem)}\n`;
}

const cutFor = ({ connections, problem }: Cut): object => ({ cut: connections, 'not-cut': problem ?? null });

/** Why it may not last. */
type Doubts = Pick<Islanded, 'goesWith' | 'notKept'>;

const doubtsFor = ({ goesWith, notKept }: Doubts): object => ({
  'goes-with': goesWith ?? null,
  'not-kept': notKept ?? null,
});

function doubts({ goesWith, notKept }: Doubts): string[] {
  const goes =
    goesWith &&
    `change ${goesWith} waits: unless it is confirmed, nothing enforces this any more, as the rules before it do not`;
  return [goes, notKept].filter((text) => text !== undefined).map(visible);
}

type Measures = Pick<Status, 'island' | 'quarantined' | 'isEnforced' | 'notKept'>;

/** Something is in force of which the kernel holds nothing. */
export const isUnenforced = ({ island, quarantined, isEnforced }: Measures): boolean =>
  isEnforced === false && (island !== undefined || quarantined.length > 0);

export const measuresFor = ({ island, quarantined, isEnforced, notKept }: Measures): object => ({
  island: island === undefined ? null : { ...island, since: new Date(island.since).toISOString() },
  quarantined: quarantined.map(entryFor),
  enforced: isEnforced ?? null,
  'not-kept': notKept ?? null,
});

export function measuresLines({ island, quarantined, isEnforced, notKept }: Measures): string[] {
  const but = isEnforced === false ? ', and nothing enforces it' : '';
  const cut =
    island === undefined
      ? []
      : [
          `the gateway is an island since ${new Date(island.since).toISOString()}: ${visible(island.because)} (${visible(island.who)})${but}`,
        ];
  return [
    ...cut,
    ...quarantined.map((entry) => `in quarantine${but}: ${listedLine(entryFor(entry))}`),
    ...(notKept === undefined ? [] : [visible(notKept)]),
  ];
}

function entryFor({ device, mac, addresses, who, because, since, left }: Entry): Listed {
  return {
    device,
    mac: mac ?? null,
    addresses: [...addresses],
    who,
    because,
    since: new Date(since).toISOString(),
    'left-ms': left === undefined ? null : leftOf(left),
  };
}

function listedLine(one: Listed): string {
  const { device, who, because, since } = one;
  const ends = endsText(one);
  return visible(
    `${device}${ends === device ? '' : ` (${ends})`} since ${since}${lastsText(one)}: ${because} (${who})`,
  );
}

function lastsText({ 'left-ms': left }: Listed): string {
  if (left === null) return ', until it is released';
  if (left === 0) return ', over, released by the next change';
  return `, for ${formatDuration(milliseconds(Math.ceil(left / 1_000) * 1_000))}`;
}
