import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { errorText } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { Task } from '../core/task.ts';
import { type Duration, minutes, seconds } from '../core/units.ts';
import type { Policy } from '../segmentation/policy.ts';
import { foreignTables, type ShadowFacts, shadows } from '../segmentation/shadow.ts';
import type { Shadow } from '../segmentation/shadow-path.ts';
import type { ForeignTable } from '../segmentation/shadow-rules.ts';
import { asked } from './asked.ts';
import { ToldOnce } from './told-once.ts';

// Reads what may undermine the rules. Tables of others are listed in a child, the heads of their chains before their rules: a
// newer nft may have written what kills this one.

/** Nothing tells of most of it; tables of others are told of by nft monitor. */
const EVERY: Duration = minutes(1);
/** After tables of others were changed, which comes in bursts. */
const SETTLE: Duration = seconds(2);
/** Side of an interface that has filters, as tc calls it. */
const SIDES = ['ingress', 'egress', 'root'] as const;
const SWITCHES = [
  'ipv4/ip_forward',
  'ipv6/conf/all/forwarding',
  'bridge/bridge-nf-call-iptables',
  'bridge/bridge-nf-call-ip6tables',
];
/** Of each interface, and of all. */
const EACH = [
  'ipv4/conf/*/route_localnet',
  'ipv4/conf/*/accept_source_route',
  'ipv6/conf/*/accept_ra',
  'ipv6/conf/*/forwarding',
  'ipv6/conf/*/seg6_enabled',
  'ipv6/conf/*/rpl_seg_enabled',
];
const LEGACY = ['/proc/net/ip_tables_names', '/proc/net/ip6_tables_names'];
/** As nft writes names; the kernel takes any, and nft would read another one as commands. */
const PLAIN_NAME = /^[A-Za-z_][\w./-]*$/;
/** Kernels without flowtables or traffic control say so; what is not there undermines nothing. */
const ABSENT = /not supported|No such file or directory|Protocol not supported|Cannot find specified/i;

/**
 * What undermines these rules on this machine now; `closed` where we switched forwarding off. Never throws: what cannot be
 * looked at is told.
 */
export async function findShadows(policy: Policy, closed: () => boolean): Promise<Shadow[]> {
  if (policy.mode === 'off') return [];
  const facts = await factsOf();
  return shadows({ ...facts, closed: closed() }, policy);
}

async function factsOf(): Promise<Omit<ShadowFacts, 'closed'>> {
  const unread: { what: string; why: string }[] = [];
  const ask = async (what: string, program: string, ...args: readonly string[]): Promise<unknown> => {
    try {
      return await asked(program, args);
    } catch (error) {
      const why = errorText(error);
      if (!ABSENT.test(why) || /ENOENT/.test(why))
        unread.push({ what, why: why.split('\n')[0]?.slice(0, 200) ?? '' });
      return undefined;
    }
  };
  const chains = await ask('chains of other tables', 'nft', '-j', 'list', 'chains');
  const tables: ForeignTable[] = [];
  for (const { family, name } of foreignTables(chains)) {
    if (!PLAIN_NAME.test(name)) {
      tables.push({ family, name, json: undefined, unread: 'of its name' });
      continue;
    }
    const before = unread.length;
    // Without the elements of sets, of which others have as many as they like.
    const json = await ask(`table ${name}`, 'nft', '-j', '-t', 'list', 'table', family, name);
    const [failed] = unread.splice(before);
    tables.push({ family, name, json, ...(failed !== undefined && { unread: failed.why }) });
  }
  const flowtables = await ask('flowtables', 'nft', '-j', 'list', 'flowtables');
  const links = await ask('interfaces', 'ip', '-j', '-d', 'link', 'show');
  const rules = [
    { family: 'IPv4', json: await ask('routing rules', 'ip', '-j', 'rule', 'show') },
    { family: 'IPv6', json: await ask('routing rules of IPv6', 'ip', '-j', '-6', 'rule', 'show') },
  ] as const;
  const filters = await filtersOf(await ask('traffic control', 'tc', '-j', 'qdisc', 'show'), ask);
  return {
    chains,
    tables,
    flowtables,
    links,
    rules,
    filters,
    legacy: legacyTables(),
    switches: switchesOf(),
    unread,
  };
}

type Ask = (what: string, program: string, ...args: readonly string[]) => Promise<unknown>;

/** Of interfaces where something may hang: clsact and ingress for what comes and goes, classes for what goes. */
async function filtersOf(qdiscs: unknown, ask: Ask): Promise<ShadowFacts['filters']> {
  const list: readonly unknown[] = Array.isArray(qdiscs) ? qdiscs : [];
  const filters: { dev: string; side: string; json: unknown }[] = [];
  const seen = new Set<string>();
  for (const one of list) {
    if (typeof one !== 'object' || one === null || !('kind' in one) || !('dev' in one)) continue;
    const { kind, dev } = one;
    if (typeof kind !== 'string' || typeof dev !== 'string' || PLAIN.has(kind)) continue;
    for (const side of kind === 'clsact' || kind === 'ingress' ? SIDES.slice(0, 2) : SIDES.slice(2)) {
      if (seen.has(`${dev} ${side}`)) continue;
      seen.add(`${dev} ${side}`);
      const json = await ask(
        `filters at ${dev} ${side}`,
        'tc',
        '-j',
        'filter',
        'show',
        'dev',
        dev,
        ...(side === 'root' ? [] : [side]),
      );
      filters.push({ dev, side, json });
    }
  }
  return filters;
}

/** They have no filters. */
const PLAIN: ReadonlySet<string> = new Set([
  'noqueue',
  'pfifo_fast',
  'pfifo',
  'bfifo',
  'fq',
  'fq_codel',
  'mq',
  'noop',
]);

function legacyTables(): string[] {
  return [...new Set(LEGACY.flatMap((path) => (read(path) ?? '').split('\n')))].filter((name) => name !== '');
}

function switchesOf(): ReadonlyMap<string, string> {
  const each = EACH.flatMap((pattern) => {
    const [conf = '', key = ''] = pattern.split('/*/');
    const folder = `/proc/sys/net/${conf}`;
    return existsSync(folder) ? readdirSync(folder).map((name) => `${conf}/${name}/${key}`) : [];
  });
  return new Map(
    [...SWITCHES, ...each].flatMap((path) => {
      const value = read(`/proc/sys/net/${path}`)?.trim();
      return value === undefined ? [] : [[path, value] as const];
    }),
  );
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

interface WatchParts {
  readonly policy: () => Promise<Policy>;
  /** Is forwarding switched off by us? */
  readonly closed: () => boolean;
  readonly log: Log;
}

/** Tells what is there at the start, and what comes and goes. */
export class ShadowWatch implements Task {
  readonly name = 'ways around the rules';
  readonly #parts: WatchParts;
  #known: ReadonlyMap<string, Shadow> = new Map();
  #over = new AbortController();

  constructor(parts: WatchParts) {
    this.#parts = parts;
  }

  /** Tables of others were changed. */
  look(): void {
    this.#over.abort();
  }

  async run(signal: AbortSignal): Promise<void> {
    const { log } = this.#parts;
    // The configuration may be wrong just now.
    const told = new ToldOnce((error) => log.warn('cannot look for ways around the rules', { error }));
    while (!signal.aborted) {
      this.#over = new AbortController();
      try {
        await this.#compare();
        told.over();
      } catch (error) {
        told.failed(error);
      }
      const woken = this.#over.signal;
      await pause(EVERY, undefined, { signal: AbortSignal.any([signal, woken]) }).catch(() => {});
      if (woken.aborted) await pause(SETTLE, undefined, { signal }).catch(() => {});
    }
  }

  async #compare(): Promise<void> {
    const { policy, closed, log } = this.#parts;
    const found = await findShadows(await policy(), closed);
    const now = new Map(found.map((shadow) => [`${shadow.kind} ${shadow.place}`, shadow]));
    for (const [key, shadow] of now) if (!this.#known.has(key)) tell(log, shadow);
    for (const [key, { place, severity }] of this.#known)
      if (!now.has(key)) log.info('it is gone, what was beside the rules', { severity, place });
    this.#known = now;
  }
}

function tell(log: Log, { kind, severity, place, does, remedy }: Shadow): void {
  const facts = { severity, kind, place, does, remedy };
  if (severity === 'danger') log.error('a way around the rules', facts);
  else if (severity === 'warning') log.warn('something undermines the rules', facts);
  else log.info('something beside the rules', facts);
}
