import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { errorText, SluiceError } from '../core/errors.ts';
import { type Duration, seconds } from '../core/units.ts';
import { visible } from '../core/visible.ts';
import { mergedListings } from '../segmentation/listing.ts';
import { noteOwn } from './own-nft.ts';

// The only caller of the program nft. It names our table in every command, so that it cannot touch another one: never
// "flush ruleset", never a listing of all.

/** What older ones take for JSON is not what is written here. */
const OLDEST = [1, 0, 6] as const;
/** Fifty thousand devices take two seconds; whoever has not ended by then hangs. */
const LIMIT: Duration = seconds(30);
/** nft is in sbin, which a plain user, and so whoever they become root from, does not always have in the path. */
const SBIN = ['/usr/sbin', '/sbin', '/usr/local/sbin'];
const MEMORY = ['/dev/shm', '/run'];
const MOST_BYTES = 512 * 1_024 * 1_024;
const TABLES = ['inet sluice', 'bridge sluice'] as const;
/** What is told to whoever may change rules, and not these. */
const NOT_OURS = /Could not process rule: Operation not permitted/;
/** Also where the kernel has no tables of a bridge at all. */
const NO_TABLE = /No such file or directory|not supported/;

export interface NftOptions {
  readonly program?: string;
  readonly limit?: Duration;
  /** Descriptor of a file that is locked: a child keeps it, so that the lock outlives us while nft still runs. */
  readonly lock?: number;
}

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly timedOut: boolean;
  readonly out: string;
  readonly err: string;
}

/**
 * Why nft did not do it. `says no`: it, or the kernel, looked at what it was given and refused; all others say nothing
 * about that. `killed`: it died of what it read, which is no accident of this machine. `not permitted`: whoever runs this
 * has not the rights, and will not get them. `held`: another program owns the table, and we may only look.
 */
export type NftTrouble = 'says no' | 'killed' | 'late' | 'not permitted' | 'held';

export class NftError extends SluiceError {
  readonly trouble: NftTrouble;

  constructor(trouble: NftTrouble, message: string, remedy: string) {
    super('SETUP', message, { remedy });
    this.trouble = trouble;
  }
}

export const isTrouble = (error: unknown, ...troubles: readonly NftTrouble[]): boolean =>
  error instanceof NftError && troubles.includes(error.trouble);

/** nft of this machine, in the network namespace of this process. */
export class Nft {
  readonly #program: string;
  readonly #limit: Duration;
  readonly #lock: number | undefined;

  constructor({ program = 'nft', limit = LIMIT, lock }: NftOptions = {}) {
    this.#program = program;
    this.#limit = limit;
    this.#lock = lock;
  }

  /** Throws where it is missing, or older than 1.0.6. */
  async version(): Promise<string> {
    const { out } = await this.#done(['--version'], 'tell its version');
    const [, version = ''] = /v(\d+(?:\.\d+)*)/.exec(out) ?? [];
    const parts = version.split('.').map(Number);
    const first = OLDEST.findIndex((oldest, i) => (parts[i] ?? 0) !== oldest);
    if (version === '' || (first >= 0 && (parts[first] ?? 0) < (OLDEST[first] ?? 0))) {
      throw new SluiceError('SETUP', `nft is ${version || visible(out.trim().slice(0, 60))}`, {
        remedy: `nftables ${OLDEST.join('.')} or newer is needed (Debian 12 has it): apt-get install nftables`,
      });
    }
    return version;
  }

  /** Would the kernel take this? Asks it without changing anything; throws where it would not. */
  async check(document: string): Promise<void> {
    await this.#done(['-c', '-j', '-f', '-'], 'check rules', document);
  }

  /**
   * One transaction. What is returned is what nft complained about: that it failed does not mean that nothing was
   * committed, so whoever calls this reads the kernel back, whatever the outcome.
   */
  async load(document: string): Promise<SluiceError | undefined> {
    try {
      await this.#done(['-j', '-f', '-'], 'load rules', document);
      return undefined;
    } catch (error) {
      if (error instanceof SluiceError) return error;
      throw error;
    }
  }

  /** Our two tables as JSON text; undefined where there is neither. */
  async list(): Promise<string | undefined> {
    const listings: string[] = [];
    for (const table of TABLES) {
      const what = `list table ${table}`;
      const ended = await this.#run(['-j', ...what.split(' ')], what);
      if (ended.code === 0 && isWhole(ended.out)) listings.push(ended.out);
      else if (ended.code === 0) throw (await this.#held()) ?? cutShort(what);
      else if (ended.code !== 1 || !NO_TABLE.test(ended.err)) throw failureOf(ended, what, this.#limit);
    }
    return mergedListings(listings);
  }

  async #done(args: readonly string[], what: string, input?: string): Promise<Ended> {
    const ended = await this.#run(args, what, input);
    if (ended.code === 0) return ended;
    throw (NOT_OURS.test(ended.err) ? await this.#held() : undefined) ?? failureOf(ended, what, this.#limit);
  }

  /** A table that belongs to one living program (flags owner) is read by all and changed by that one alone. */
  async #held(): Promise<SluiceError | undefined> {
    for (const table of TABLES) {
      const what = `list table ${table}`;
      const { code, out } = await this.#run(['-t', ...what.split(' ')], what);
      if (code !== 0 || !/^\s*flags\b.*\bowner\b/m.test(out)) continue;
      const [, program = 'unknown'] = /# progname (\S+)/.exec(out) ?? [];
      return new NftError(
        'held',
        `table ${table} is held by another program, ${visible(program)}, which alone may change it (flags owner)`,
        'end that program (nft list table tells its name, ps its number), then ./sluice firewall rollback',
      );
    }
    return undefined;
  }

  async #run(args: readonly string[], what: string, input = ''): Promise<Ended> {
    const document = inMemory(input);
    try {
      const child = spawn(this.#program, args, {
        // In a session of its own no Ctrl-C of our terminal reaches it in the middle of a transaction.
        detached: true,
        env: nftEnvironment(),
        stdio: [document, 'pipe', 'pipe', ...(this.#lock === undefined ? [] : [this.#lock])],
      });
      if (this.#lock !== undefined && child.pid !== undefined) noteOwn(this.#lock, child.pid);
      return await ending(child, this.#limit);
    } catch (cause) {
      const missing = cause instanceof Error && 'code' in cause && cause.code === 'ENOENT';
      throw new SluiceError(
        'SETUP',
        `cannot ${what}: ${missing ? 'there is no program nft' : errorText(cause)}`,
        {
          cause,
          remedy: missing
            ? 'apt-get install nftables'
            : 'check the program nft and the memory of this machine',
        },
      );
    } finally {
      closeSync(document);
    }
  }
}

/** Also for who starts it otherwise. */
export const nftEnvironment = (): NodeJS.ProcessEnv => ({
  ...process.env,
  LC_ALL: 'C',
  TZ: 'UTC',
  PATH: [process.env['PATH'], ...SBIN].join(':'),
});

/** nft 1.0.6 stops in the middle of a table with flags, and says that it went well. */
const isWhole = (json: string): boolean => json.trimEnd().endsWith('}');

const cutShort = (what: string): SluiceError =>
  new SluiceError('SETUP', `cannot ${what}: nft printed a part of it`, {
    remedy:
      'look at what nft list table inet sluice prints, and whether nft is whole: dpkg --verify nftables',
  });

/** What to do where the kernel says no for want of room, which tells nothing about the rules or what it can do. */
export function roomFor(says: string): string | undefined {
  if (says.includes('Argument list too long'))
    return 'other programs have as many chains at one hook as the kernel takes, 1,024: nft list chains shows them';
  if (/Cannot allocate memory|No buffer space available/.test(says))
    return 'the kernel has no memory for it: free -m, and whether a limit is set for this service';
  return undefined;
}

/**
 * A file that nobody else sees and that needs no disk: rules have to be rolled back on a full one too. No pipe, because
 * nft opens /dev/stdin by its name, and what Node calls a pipe is a socket, which cannot be opened.
 */
function inMemory(text: string): number {
  let last: unknown;
  for (const folder of [...MEMORY, tmpdir()]) {
    const path = join(folder, `sluice-${randomBytes(8).toString('hex')}`);
    try {
      const file = openSync(path, 'wx+', 0o600);
      rmSync(path);
      // By position: who reads what is inherited, and not opens it anew, begins at the beginning too.
      const bytes = Buffer.from(text);
      for (let done = 0; done < bytes.length; )
        done += writeSync(file, bytes, done, bytes.length - done, done);
      return file;
    } catch (error) {
      last = error;
    }
  }
  throw new SluiceError('SETUP', `no room for the rules in ${MEMORY.join(', ')}: ${errorText(last)}`, {
    cause: last,
    remedy: 'check the memory of this machine',
  });
}

async function ending(child: ChildProcess, limit: Duration): Promise<Ended> {
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    endGroup(child);
  }, limit);
  try {
    const [out, err] = [taken(child.stdout), taken(child.stderr)];
    const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (...end) => resolve(end));
    });
    return { code, signal, timedOut, out: out(), err: err() };
  } finally {
    clearTimeout(timer);
  }
}

/** With whatever it started: that would hold its output open. It leads a group of its own. */
function endGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}

/** Everything that a stream said, once it has ended. */
function taken(stream: NodeJS.ReadableStream | null): () => string {
  const chunks: Buffer[] = [];
  let bytes = 0;
  stream?.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes <= MOST_BYTES) chunks.push(chunk);
  });
  return () => Buffer.concat(chunks).toString();
}

function failureOf({ signal, timedOut, code, err }: Ended, what: string, limit: Duration): NftError {
  const tried = `cannot ${what}: nft`;
  if (timedOut) {
    return new NftError(
      'late',
      `${tried} did not end within ${limit / 1_000} s`,
      'look for other programs that hold nftables (ps, dmesg), then try again',
    );
  }
  if (signal !== null) {
    return new NftError(
      'killed',
      `${tried} was killed by ${signal}`,
      'look at dmesg; a newer nft in a container may have written what this one cannot list',
    );
  }
  if (/Operation not permitted/.test(err)) {
    return new NftError(
      'not permitted',
      `${tried} is not permitted`,
      'run this as root, or with CAP_NET_ADMIN',
    );
  }
  const says = err.split('\n').find((line) => line.trim() !== '') ?? `ended with ${code} and said nothing`;
  return new NftError(
    'says no',
    `${tried}: ${visible(says.trim().slice(0, 300))}`,
    roomFor(says) ?? 'dmesg and ./sluice firewall status tell more',
  );
}
