import type { Config } from '../config/config.ts';
import { formatAddress } from '../config/network.ts';
import { SluiceError } from '../core/errors.ts';
import { visible } from '../core/visible.ts';
import { probeTwin, type Seen } from '../netd/twin.ts';
import { compile } from '../segmentation/compile.ts';
import { type GuardedConduit, guardsOf } from '../segmentation/guards.ts';
import type { Policy } from '../segmentation/policy.ts';
import { render } from '../segmentation/render.ts';
import { type Cell, type Cells, twinCells } from '../segmentation/twin-cells.ts';
import { type TwinPlant, twinPlant } from '../segmentation/twin-hosts.ts';
import { claimCells } from '../segmentation/twin-ports.ts';
import { requestCells } from '../segmentation/twin-requests.ts';
import { declaredPlant } from './declared-policy.ts';
import { Progress } from './progress.ts';
import { untilInterrupted } from './until-interrupted.ts';

// Real packets through a twin of the plant, and what became of them.

const GUARD = new URL('firewall-probe-guard.ts', import.meta.url).pathname;

export interface Probed {
  readonly plant: TwinPlant;
  readonly cells: Cells;
  readonly seen: readonly Seen[];
  readonly mode: Policy['mode'];
  /** What the gateway counted that it would deny. */
  readonly wouldDeny: number;
}

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
  /** Conduits that are looked into, and the file that says so. */
  /** Access ports of each zone, by its name. */
  readonly ports: ReadonlyMap<string, readonly string[]>;
  readonly guards: { readonly of: readonly GuardedConduit[]; readonly file: string };
}

export async function probePolicy(
  policy: Policy,
  signal: AbortSignal,
  { documents, guards, ports }: Loaded,
): Promise<Probed> {
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

export interface ProbeDifference {
  readonly cell: Cell;
  readonly seen: Seen;
}

/** In mode observe everything passes. A foreign source is never answered: the answer goes to whom the address belongs. */
export function differences({ cells, seen, mode }: Probed): ProbeDifference[] {
  return cells.cells.flatMap((cell, i) => {
    const one = seen[i] ?? 'nothing';
    const denied = cell.request?.refusal === 'exception' ? 'refused' : 'nothing';
    const passed = cell.claim === undefined ? 'answered' : 'arrived';
    const asMeant = mode === 'observe' ? observed(cell, one) : one === (cell.declared ? passed : denied);
    return asMeant ? [] : [{ cell, seen: one }];
  });
}

const observed = (cell: Cell, seen: Seen): boolean =>
  cell.kind === 'foreign source' || cell.claim !== undefined ? seen !== 'nothing' : seen === 'answered';

/** What mode observe let pass without a declaration has to be counted. */
function wasCounted({ cells, mode, wouldDeny }: Probed): boolean {
  return mode !== 'observe' || wouldDeny > 0 || cells.cells.every(({ declared }) => declared);
}

export function forPerson(probed: Probed): string {
  const { plant, cells, seen, mode, wouldDeny } = probed;
  const wrong = differences(probed);
  const declared = cells.cells.filter((cell) => cell.declared).length;
  const whom = plant.one === 'device' ? 'one for each device' : 'one for each class';
  const sampled =
    cells.cells.length < cells.all
      ? [`  of ${cells.all} cells these were probed: all that are declared, and every n-th of the rest`]
      : [];
  const head = [
    `a twin of the plant, ${plant.hosts.length} hosts (${whom}, somebody unknown in each zone, and a stray interface), mode ${mode}:`,
    `  ${cells.cells.length} packets were sent, ${declared} of them declared`,
    ...sampled,
    ...(mode === 'observe'
      ? [`  everything passes in this mode; ${wouldDeny} packets were counted that it would deny`]
      : []),
    wrong.length === 0 ? 'as declared, all of them' : `${wrong.length} differ from what is declared:`,
    ...(wasCounted(probed) ? [] : ['and nothing was counted that would be denied']),
    ...wrong.map(
      ({ cell, seen: one }) =>
        `  ${cellText(cell)}: ${cell.declared ? 'is declared' : 'is not declared'}, ${SEEN[one]}`,
    ),
    '',
    'from -> to: what was answered | what was not',
  ];
  return [...head, ...matrix(cells.cells, seen)].map((line) => `${visible(line)}\n`).join('');
}

const SEEN: Readonly<Record<Seen, string>> = {
  answered: 'and was answered',
  arrived: 'and arrived',
  nothing: 'and did not arrive',
  refused: 'and was refused by the guard',
};

function cellText(cell: Cell): string {
  const { family, kind } = cell;
  const [source, target] = [formatAddress(family, cell.source), formatAddress(family, cell.target)];
  const what = kind === 'new' || kind === 'request' || cell.claim !== undefined ? '' : ` (${kind})`;
  return `${cell.from} ${source} -> ${cell.to} ${target} ${service(cell)}${what}`;
}

function service({ protocol, port, kind, request, claim }: Cell): string {
  if (claim !== undefined) return `arp (${kind})`;
  if (request !== undefined) return `${protocol}/${port} (${request.text})`;
  const name = protocol === 'icmp' ? 'icmp' : `${protocol}/${port}`;
  const marks = {
    new: '',
    request: '',
    'own arp': '',
    'foreign arp': '!',
    'foreign hardware': '!',
    'answer unasked': '?',
    'foreign source': '!',
    fragments: '+',
    'small fragments': '+',
    'tiny fragments': '+',
  };
  return `${name}${marks[kind]}`;
}

const named = (some: readonly { readonly cell: Cell }[]): string =>
  [...new Set(some.map(({ cell }) => service(cell)))].join(' ') || '-';

function matrix(cells: readonly Cell[], seen: readonly Seen[]): string[] {
  const rows = Map.groupBy(
    cells.map((cell, i) => ({ cell, one: seen[i] ?? 'nothing' })),
    ({ cell }) => `${cell.from} -> ${cell.to}`,
  );
  return [
    ...[...rows].map(([name, row]) => {
      const [passed, not] = [
        row.filter(({ one }) => one !== 'nothing' && one !== 'refused'),
        row.filter(({ one }) => one === 'nothing' || one === 'refused'),
      ];
      return `  ${name}: ${named(passed)} | ${named(not)}`;
    }),
    '? an answer that nobody asked for   ! with the address of somebody else   + in fragments',
  ];
}

const record = (cell: Cell, one: Seen): object => ({
  kind: cell.kind,
  from: cell.from,
  source: formatAddress(cell.family, cell.source),
  to: cell.to,
  target: formatAddress(cell.family, cell.target),
  protocol: cell.claim === undefined ? cell.protocol : 'arp',
  port: cell.protocol === 'icmp' || cell.claim !== undefined ? null : cell.port,
  ...(cell.request !== undefined && { request: cell.request.text, unit: cell.request.unit }),
  declared: cell.declared,
  seen: one,
});

function forMachine(probed: Probed): object {
  const { plant, cells, seen, mode, wouldDeny } = probed;
  return {
    mode,
    'one-host-for-each': plant.one,
    hosts: plant.hosts.map(({ name, zone, interface: own }) => ({ name, zone, interface: own })),
    'all-cells': cells.all,
    'would-deny': wouldDeny,
    differences: differences(probed).map(({ cell, seen: one }) => record(cell, one)),
    cells: cells.cells.map((cell, i) => record(cell, seen[i] ?? 'nothing')),
  };
}
