import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { REPOSITORY } from '../support/process.ts';
import { netdAt } from '../../src/netd/client.ts';
import type { Request, Verb } from '../../src/netd/request.ts';
import { until } from '../support/wait.ts';
import type { Bed, Ran } from './bed.ts';
import { type Host, must, type Talk } from './hosts.ts';

// What is done about a network and asked of it, where measures are tested with real packets.

export async function sluice(bed: Bed, ...args: readonly string[]): Promise<Ran> {
  return bed.run(process.execPath, join(REPOSITORY, 'src/main.ts'), ...args);
}

/** What it says; throws where it fails. */
export async function good(bed: Bed, ...args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await sluice(bed, ...args);
  if (status !== 0) throw new Error(`${args.join(' ')}: ${stderr}${stdout}`);
  return stdout;
}

/** What netd answers over its socket: a start of Node for each command would take most of the time. Throws where it fails. */
export async function asked(bed: Bed, verb: Verb, request: Omit<Request, 'verb'> = {}): Promise<string> {
  const { good: isGood, text } = await inTurn(async () => {
    using connection = await netdAt(bed.socket);
    if (connection === undefined) throw new Error('no netd listens');
    return await connection.ask({ ...request, verb });
  });
  if (!isGood) throw new Error(`${verb}: ${text}`);
  return text;
}

/** netd takes five changes at once, and then one each two seconds: whoever tests many waits for each turn. */
export async function inTurn<T>(act: () => Promise<T>): Promise<T> {
  const tooMany = /too many changes/;
  const done = await until(
    'a turn',
    async (): Promise<{ readonly value: T } | undefined> => {
      try {
        const value = await act();
        return tooMany.test(JSON.stringify(value)) ? undefined : { value };
      } catch (error) {
        if (tooMany.test(String(error))) return undefined;
        throw error;
      }
    },
    120_000,
  );
  return done.value;
}

/** The same as `held` by way of netd. */
export async function heldByNetd(bed: Bed, yaml: string): Promise<void> {
  bed.declare(yaml);
  await asked(bed, 'apply');
  await asked(bed, 'confirm', { change: bed.change });
}

/** The same as `held` for the first rules of a bed, at once: where no change is what is tested. */
export async function holdsFrom(bed: Bed, yaml: string): Promise<void> {
  bed.declare(yaml);
  await bed.confirmed(yaml);
  bed.knows(yaml);
}

/** These rules hold, and are confirmed. */
export async function held(bed: Bed, yaml: string, ...args: readonly string[]): Promise<void> {
  bed.declare(yaml);
  await good(bed, 'firewall', 'apply', ...args);
  await good(bed, 'firewall', 'confirm', bed.change, ...args);
}

const counters = z.object({
  nftables: z.array(
    z.object({ counter: z.object({ name: z.string(), packets: z.number() }).optional() }).loose(),
  ),
});

async function packets(listing: string, isMeant: (name: string) => boolean): Promise<number> {
  const { nftables } = counters.parse(JSON.parse(listing));
  return nftables.reduce(
    (sum, { counter }) => sum + (counter && isMeant(counter.name) ? counter.packets : 0),
    0,
  );
}

/** Packets that the gateway has dropped by its rules. */
const dropped = async (bed: Bed): Promise<number> =>
  packets(await must(bed, 'nft', '-j', 'list', 'counters', 'table', 'inet', 'sluice'), (name) =>
    name.startsWith('n_denied'),
  );

/** Counts from now on what comes to a host, by TCP or UDP. */
export async function counts(bed: Bed, host: Host): Promise<() => Promise<number>> {
  const script =
    'table inet seen { counter came {}; chain in { type filter hook input priority 0; meta l4proto { tcp, udp } counter name came; }; }';
  await on(bed, host, 'nft', script);
  return async () =>
    packets(await on(bed, host, 'nft', '-j', 'list', 'counters', 'table', 'inet', 'seen'), () => true);
}

/** A program at a host, to its end. */
export async function on(bed: Bed, host: Host, ...args: readonly string[]): Promise<string> {
  return must(bed, 'nsenter', '-t', String(host.pid), '-n', ...args);
}

type Watched = Talk | (() => Promise<number>);

/**
 * However much is tried, nothing that is counted moves: as many packets were dropped meanwhile. What the kernel counts
 * stands at once; a talk may still be told of an answer that came before.
 */
export async function isSilent(bed: Bed, watched: readonly Watched[], tries = 8): Promise<boolean> {
  const arrivals = watched.filter((one) => typeof one === 'function');
  const talks = watched.filter((one) => typeof one !== 'function');
  const came = async (): Promise<number[]> => Promise.all(arrivals.map(async (count) => count()));
  const before = await came();
  const from = await dropped(bed);
  const tried = async (more: number): Promise<void> =>
    void (await until('packets that are tried', async () => (await dropped(bed)) >= from + more, 120_000));
  await tried(1);
  const heard = talks.map(({ count }) => count);
  await tried(1 + tries);
  const [after, now] = [await came(), talks.map(({ count }) => count)];
  return JSON.stringify([after, now]) === JSON.stringify([before, heard]);
}

/** The time of everybody in quarantine is over now. */
export function timeIsOver(bed: Bed): void {
  const book = join(bed.state, 'quarantine.json');
  writeFileSync(`${book}.test`, readFileSync(book, 'utf8').replace(/"left": \d+/g, '"left": 1'));
  renameSync(`${book}.test`, book);
}

/** The audit as `verb outcome user detail`, and the device where it is asked for. */
export function audited(bed: Bed, more: readonly 'device'[] = []): string[] {
  const text = readFileSync(join(bed.state, 'audit.jsonl'), 'utf8').trimEnd();
  const record = z.object({
    verb: z.string(),
    outcome: z.string(),
    via: z.string(),
    detail: z.string().optional(),
    device: z.string().optional(),
  });
  return text.split('\n').map((line) => {
    const { verb, outcome, via, detail = '', device = '' } = record.parse(JSON.parse(line));
    return `${verb} ${outcome} ${via} ${detail} ${more.length > 0 ? device : ''}`.trimEnd();
  });
}
