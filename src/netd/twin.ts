import { setTimeout as pause } from 'node:timers/promises';
import { formatAddress } from '../config/network.ts';
import { GATEWAY } from '../config/zones.ts';
import { SluiceError } from '../core/errors.ts';
import type { Cell, CellKind, ModbusRequest } from '../segmentation/twin-cells.ts';
import type { TwinPlant } from '../segmentation/twin-hosts.ts';
import type { Place } from './twin-agent.ts';
import { batchesOf, type Numbered } from './twin-batches.ts';
import { TwinProcess } from './twin-host.ts';
import { familiesOf, gatewayLinks, hostLinks, hostText, SMALL_PORT } from './twin-links.ts';
import { HEARD, KNOBS, ROUTER, WATCH } from './twin-watch.ts';
import { field, type Notes, notesOf, objectsIn } from './twin-notes.ts';

// A plant in network namespaces that have no name, one process each: real packets through the very rules.

/** What became of a cell: answered, arrived without an answer, or neither; a request may be refused by a guard. */
export type Seen = 'answered' | 'arrived' | 'nothing' | 'refused';

export interface TwinOptions {
  /** Documents for nft, loaded in this order. */
  readonly documents: readonly string[];
  /** A script with its arguments that runs in the gateway beside the rules, and says when it is ready. */
  readonly beside?: readonly string[] | undefined;
  readonly signal: AbortSignal;
  readonly progress: (done: number, all: number) => void;
}

export interface TwinResult {
  readonly seen: readonly Seen[];
  /** Named counters of the gateway, those of our table. */
  readonly counters: ReadonlyMap<string, number>;
}

/** Whoever is to be answered has this long; packets take microseconds, a busy machine takes its time. */
const PATIENCE_MS = 3_000;
/** A busy machine drops a datagram now and then, as a network does: what is declared is sent again before it is told. */
const REPEATS = 2;
/** Packets pass a veth before their sender goes on: this long without an answer is the end of it. */
const QUIET_MS = 250;
/** Larger than any frame here; and what fits five packets of the smallest size that IPv4 allows. */
const SIZES: Readonly<Record<CellKind, number>> = {
  new: 16,
  'answer unasked': 16,
  'foreign source': 16,
  fragments: 5_000,
  'small fragments': 200,
  'tiny fragments': 32,
  request: 0,
  'own arp': 16,
  'foreign arp': 16,
  'foreign hardware': 16,
};
export async function probeTwin(
  plant: TwinPlant,
  cells: readonly Cell[],
  options: TwinOptions,
): Promise<TwinResult> {
  await using twin = new Twin(options.signal);
  await twin.build(plant, options.documents);
  if (options.beside !== undefined) await twin.start(options.beside);
  const seen: Seen[] = cells.map(() => 'nothing');
  const numbered = cells.map((cell, id) => ({ cell, id }));
  let done = 0;
  for (const some of batchesOf(numbered)) {
    for (const [id, one] of await twin.send(some)) seen[id] = one;
    for (let again = 0; again < REPEATS; again += 1) {
      const missing = some.filter(({ cell, id }) => isAwaited(cell) && seen[id] !== awaitedOf(cell));
      if (missing.length === 0) break;
      for (const [id, one] of await twin.send(missing)) if (one !== 'nothing') seen[id] = one;
    }
    done += some.length;
    options.progress(done, cells.length);
  }
  return { seen, counters: await twin.counters() };
}

/** How whatever is to be answered is answered. */
const awaitedOf = ({ declared, observed, claim }: Cell): Seen =>
  claim !== undefined ? 'arrived' : declared || observed === true ? 'answered' : 'refused';
const isAwaited = ({ declared, observed, request }: Cell): boolean =>
  declared || observed === true || request?.refusal === 'exception';

class Twin implements AsyncDisposable {
  readonly #hosts = new Map<string, TwinProcess>();
  #beside: TwinProcess | undefined;
  #hears = false;
  readonly #signal: AbortSignal;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  #host(name: string): TwinProcess {
    const host = this.#hosts.get(name);
    if (host === undefined) throw new Error(`the twin has no ${name}`);
    return host;
  }

  async build(plant: TwinPlant, documents: readonly string[]): Promise<void> {
    for (const name of [GATEWAY, ...plant.hosts.map((host) => host.name)])
      this.#hosts.set(name, new TwinProcess(name));
    await this.#all(async (host) => {
      await host.ready();
      await host.do({ do: 'set', knobs: host.name === GATEWAY ? { ...KNOBS, ...ROUTER } : KNOBS });
      await host.do({ do: 'run', program: 'nft', args: [WATCH] });
    });
    const gateway = this.#host(GATEWAY);
    this.#hears = plant.hosts.some(({ plug }) => plug !== undefined);
    if (this.#hears) await gateway.do({ do: 'run', program: 'nft', args: [HEARD] });
    await batch(
      gateway,
      gatewayLinks(plant, (host) => this.#host(host.name).pid),
    );
    await Promise.all(plant.hosts.map(async (host) => batch(this.#host(host.name), hostLinks(host, plant))));
    await this.#warm(plant);
    for (const document of documents) {
      this.#signal.throwIfAborted();
      await gateway.do({ do: 'load', document });
    }
  }

  async start(program: readonly string[]): Promise<void> {
    this.#beside = new TwinProcess(`${GATEWAY}, beside its rules`, { within: this.#host(GATEWAY), program });
    await this.#beside.ready();
  }

  /** A cable takes a moment until it carries anything, and neighbours have to find one another: before any rule is loaded. */
  async #warm({ hosts, gateway }: TwinPlant): Promise<void> {
    const calls = hosts.flatMap((host) => {
      const there = gateway.get(host.interface);
      return familiesOf(host).flatMap(([family, source]) => {
        const target = family === 4 ? there?.v4 : there?.v6;
        return target === undefined ? [] : [warmCell(host.name, family, source, target)];
      });
    });
    const end = performance.now() + PATIENCE_MS;
    for (let left = calls; left.length > 0 && performance.now() < end; ) {
      const seen = await this.send(left.map((cell, id) => ({ cell, id })));
      left = left.filter((_, id) => seen.get(id) !== 'answered');
      if (left.length > 0 && performance.now() >= end) throw unsound(left[0]);
    }
  }

  async #all(
    work: (host: TwinProcess) => Promise<void>,
    hosts: Iterable<TwinProcess> = this.#hosts.values(),
  ): Promise<void> {
    this.#signal.throwIfAborted();
    await Promise.all([...hosts].map(work));
    this.#signal.throwIfAborted();
  }

  async send(cells: readonly Numbered[]): Promise<Map<number, Seen>> {
    const targets = Map.groupBy(cells, ({ cell }) => cell.to);
    const senders = Map.groupBy(cells, ({ cell }) => cell.from);
    // Guarded connections end at the gateway, whomever they are for.
    const names = new Set([GATEWAY, ...targets.keys(), ...senders.keys()]);
    const hosts = [...names].map((name) => this.#host(name));
    await this.#lie(senders, 'add');
    await this.#all(async (host) => {
      const places = targets.get(host.name)?.flatMap(({ cell }) => placeOf(cell)) ?? [];
      const unique = new Map(places.map((place) => [JSON.stringify(place), place]));
      if (unique.size > 0) await host.do({ do: 'listen', places: [...unique.values()] });
    }, hosts);
    await this.#all(async (host) => {
      const own = senders.get(host.name)?.map(agentCell) ?? [];
      if (own.length > 0) await host.do({ do: 'send', cells: own });
    }, hosts);
    await this.#settled(cells);
    const notes = new Map<string, Notes>();
    await this.#all(async (host) => {
      notes.set(host.name, await this.#noted(host));
      await host.do({ do: 'close' });
    }, hosts);
    await this.#lie(senders, 'del');
    const fates = new Map(cells.map(({ cell, id }) => [id, this.#fate(cell, id, notes)]));
    for (const host of hosts) {
      host.answered.clear();
      host.refused.clear();
    }
    return fates;
  }

  /** What came to a host; forgotten with that. */
  async #noted(host: TwinProcess): Promise<Notes> {
    const tables = ['inet', ...(this.#hears && host.name === GATEWAY ? ['arp'] : [])];
    // One command after the other: nft 1.0.6 finds only the tables of the first of several.
    const listings: string[] = [];
    for (const family of tables)
      listings.push(
        await host.do({ do: 'run', program: 'nft', args: ['-j', 'list', 'table', family, 'twin'] }),
      );
    const notes = notesOf(listings);
    if (Object.values(notes).every(({ size }) => size === 0)) return notes;
    const flush = ['seen', 'ping', 'pong'].flatMap((set) =>
      [4, 6].map((family) => `flush set inet twin ${set}_${family}`),
    );
    if (tables.includes('arp')) flush.push('flush set arp twin heard');
    await host.do({ do: 'run', program: 'nft', args: [flush.join('; ')] });
    return notes;
  }

  /** Whoever sends with the address of somebody else has it meanwhile. */
  async #lie(senders: ReadonlyMap<string, readonly Numbered[]>, what: 'add' | 'del'): Promise<void> {
    const hosts = [...senders.keys()].map((name) => this.#host(name));
    await this.#all(async (host) => {
      const own = (senders.get(host.name) ?? []).map(({ cell }) => cell);
      await batch(host, [...new Set(own.flatMap((cell) => lies(cell, what)))]);
    }, hosts);
  }

  /** Until everything that is declared is answered, and nothing more comes. */
  async #settled(cells: readonly Numbered[]): Promise<void> {
    const awaited = cells.filter(
      ({ cell }) => isAwaited(cell) && cell.protocol !== 'icmp' && cell.claim === undefined,
    );
    const end = performance.now() + PATIENCE_MS;
    const began = performance.now();
    for (;;) {
      this.#signal.throwIfAborted();
      const missing = awaited.some(({ cell, id }) => {
        const { answered, refused } = this.#host(cell.from);
        return !answered.has(id) && !refused.has(id);
      });
      const last = Math.max(began, ...[...this.#hosts.values()].map(({ lastAnswer }) => lastAnswer));
      const now = performance.now();
      if (now > end || (!missing && now - last > QUIET_MS)) return;
      await pause(20, undefined, { signal: this.#signal });
    }
  }

  #fate(cell: Cell, id: number, notes: ReadonlyMap<string, Notes>): Seen {
    const { family } = cell;
    const [source, target] = [formatAddress(family, cell.source), formatAddress(family, cell.target)];
    const [here, there] = [notes.get(cell.from), notes.get(cell.to)];
    if (cell.claim !== undefined)
      return there?.heard.has(`${source} ${cell.claim.hardware}`) === true ? 'arrived' : 'nothing';
    if (cell.protocol === 'icmp') {
      if (here?.pongs.has(`${target} ${source}`) === true) return 'answered';
      return there?.pings.has(`${source} ${target}`) === true ? 'arrived' : 'nothing';
    }
    if (this.#host(cell.from).answered.has(id)) return 'answered';
    // The connection of a request may arrive; what counts is what is asked over it.
    if (cell.request !== undefined) return this.#host(cell.from).refused.has(id) ? 'refused' : 'nothing';
    return there?.seen.has(`${source} ${target} ${cell.protocol} ${cell.port}`) === true
      ? 'arrived'
      : 'nothing';
  }

  async counters(): Promise<Map<string, number>> {
    const text = await this.#host(GATEWAY).do({
      do: 'run',
      program: 'nft',
      args: ['-j', 'list', 'counters'],
    });
    return new Map(
      objectsIn(text).flatMap((object): [string, number][] => {
        const counter = field(object, 'counter');
        return field(counter, 'table') === 'sluice'
          ? [[String(field(counter, 'name')), Number(field(counter, 'packets'))]]
          : [];
      }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#beside?.[Symbol.asyncDispose]();
    await Promise.all([...this.#hosts.values()].map(async (host) => host[Symbol.asyncDispose]()));
  }
}

function unsound(cell: Cell | undefined): SluiceError {
  return new SluiceError(
    'SETUP',
    `in the twin ${cell?.from} does not reach the gateway over IPv${cell?.family}, without any rules`,
    {
      remedy: 'this kernel, or the load of this machine, does not allow a twin; nothing is left of it',
    },
  );
}

function lies({ kind, family, source, claim }: Cell, what: 'add' | 'del'): string[] {
  const nodad = what === 'add' ? ' nodad' : '';
  const takes = kind === 'foreign source' || kind === 'foreign arp';
  return [
    ...(takes ? [`addr ${what} ${hostText(family, source)} dev eth${nodad}`] : []),
    ...(claim === undefined ? [] : [`link set eth address ${what === 'add' ? claim.hardware : claim.own}`]),
    // Only who has forgotten where the gateway is asks for it, and says who he is.
    ...(claim === undefined ? [] : ['neigh flush dev eth']),
  ];
}

const warmCell = (from: string, family: 4 | 6, source: bigint, target: bigint): Cell => {
  const ends = { from, source, to: GATEWAY, target, family } as const;
  return { ...ends, kind: 'new', protocol: 'udp', port: 9, sourcePort: undefined, declared: true };
};

async function batch(host: TwinProcess, lines: readonly string[]): Promise<void> {
  if (lines.length > 0)
    await host.do({ do: 'run', program: 'ip', args: ['-batch', '-'], input: `${lines.join('\n')}\n` });
}

function placeOf({ protocol, family, target, port, kind, request, claim }: Cell): Place[] {
  const address = formatAddress(family, target);
  if (request !== undefined) return [{ protocol: 'modbus', address, port }];
  if (protocol === 'icmp' || kind === 'foreign source' || claim !== undefined) return [];
  return [{ protocol, address, port }];
}

function agentCell({ cell, id }: Numbered) {
  const { kind, protocol, family, source, target, port, sourcePort, request } = cell;
  return {
    id,
    protocol,
    source: formatAddress(family, source),
    target: formatAddress(family, target),
    port: protocol === 'icmp' ? 9 : port,
    sourcePort: kind === 'small fragments' ? SMALL_PORT : (sourcePort ?? 0),
    size: SIZES[kind],
    tiny: kind === 'tiny fragments',
    ...(request !== undefined && { request: requestHex(request) }),
  };
}

/** Unit, function, address, and one: how many are read, or what is written (on is 0xff00 for a coil). */
function requestHex({ unit, code, address }: ModbusRequest): string {
  const bytes = Buffer.from([unit, code, 0, 0, 0, 0]);
  bytes.writeUInt16BE(address, 2);
  bytes.writeUInt16BE(code === WRITE_COIL ? COIL_ON : 1, 4);
  return bytes.toString('hex');
}

const WRITE_COIL = 5;
const COIL_ON = 0xff00;
