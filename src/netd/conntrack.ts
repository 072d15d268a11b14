import { spawn } from 'node:child_process';
import { networkInterfaces } from 'node:os';
import { createInterface } from 'node:readline';
import { errorText, SluiceError } from '../core/errors.ts';
import { type Duration, seconds } from '../core/units.ts';
import { visible } from '../core/visible.ts';
import type { Connection } from '../segmentation/connections.ts';
import { parseConnection } from './conntrack-line.ts';
import { deletion } from './conntrack-message.ts';
import type { Lack } from './probe.ts';

// Connections that the kernel follows: conntrack(8) lists them. It deletes by reading the whole table once for each, so
// exact entries are deleted by messages of our own, which perl, an essential part of Debian, carries to the kernel:
// Node has no such socket. docs/decisions/0013.

const LIMIT: Duration = seconds(60);
const SBIN = ['/usr/sbin', '/sbin', '/usr/local/sbin'];
/** The kernel of a small box follows 65,536, of a large one 262,144; whoever raised it further is told. */
const MOST = 1_000_000;
/** A line has two hundred characters. */
const LONGEST_SAID = 2_000;

/** Takes messages, one after another, and tells how many deleted something, found nothing, were refused. */
const CARRIER = String.raw`
use strict;
binmode STDIN; undef $/;
my $all = <STDIN>;
socket(my $s, 16, 3, 12) or die "socket: $!\n";
bind($s, pack('S S L L', 16, 0, 0, 0)) or die "bind: $!\n";
setsockopt($s, 1, 20, pack('l! l!', 10, 0)) or die "timeout: $!\n";
my ($deleted, $gone, $refused) = (0, 0, 0);
for (my $at = 0; $at < length $all;) {
  my ($wanted, $end) = (0, $at);
  while ($end < length $all && $end - $at < 8192) { $end += unpack('L', substr($all, $end, 4)); $wanted++ }
  send($s, substr($all, $at, $end - $at), 0, pack('S S L L', 16, 0, 0, 0)) or die "send: $!\n";
  while ($wanted > 0) {
    defined recv($s, my $b = '', 65536, 0) or die "recv: $!\n";
    length $b or die "recv: nothing\n";
    for (my $i = 0; $i < length $b;) {
      my ($length, $type) = unpack('L S', substr($b, $i, 6));
      if ($type == 2) {
        my $error = -unpack('l', substr($b, $i + 16, 4));
        if ($error == 0) { $deleted++ } elsif ($error == 2) { $gone++ } else { $refused++ }
        $wanted--;
      }
      $i += ($length + 3) & ~3;
    }
  }
  $at = $end;
}
print "$deleted $gone $refused\n";
`;

export const NO_CONNTRACK = {
  name: 'the program conntrack',
  follows: 'connections that a change forbids go on until they end by themselves',
  needed: false,
} as const;

/** What is missing to cut connections; empty where nothing is. */
export async function conntrackLack(): Promise<Lack[]> {
  const missing: string[] = [];
  for (const [program, argument, name] of [
    ['conntrack', '--version', 'conntrack'],
    ['perl', '-v', 'perl-base'],
  ] as const) {
    try {
      await finished(program, [argument], undefined);
    } catch {
      missing.push(name);
    }
  }
  return missing.length === 0 ? [] : [{ ...NO_CONNTRACK, says: `apt-get install ${missing.join(' ')}` }];
}

/** Those of all that are followed for which `wanted` says yes. */
export async function connectionsThat(wanted: (connection: Connection) => boolean): Promise<Connection[]> {
  const found: Connection[] = [];
  for (const family of ['ipv4', 'ipv6']) {
    let count = 0;
    await finished('conntrack', ['-L', '-f', family, '-o', 'extended,id'], undefined, (line) => {
      count += 1;
      if (count > MOST) throw new SluiceError('SETUP', `the kernel follows more than ${MOST} connections`);
      const connection = parseConnection(line);
      if (connection !== undefined && wanted(connection)) found.push(connection);
    });
  }
  return found;
}

/** How many of exactly these entries were deleted: one that was replaced by another with the same ends stays. */
export async function deleteConnections(connections: readonly Connection[]): Promise<number> {
  if (connections.length === 0) return 0;
  const messages = Buffer.concat(connections.map((connection, i) => deletion(connection, i)));
  let deleted = 0;
  let refused = 0;
  await finished('perl', ['-e', CARRIER], messages, (line) => {
    const [one = 0, , other = 0] = line.split(' ').map(Number);
    deleted = one;
    refused = other;
  });
  if (refused > 0) throw new SluiceError('SETUP', `the kernel refused to cut ${refused} connections`);
  return deleted;
}

/** Every address of this machine, in the network namespace of this process. */
export function ownAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap(
    (addresses) => addresses?.map(({ address }) => address) ?? [],
  );
}

/** Runs a program to its end, line by line. Throws where it fails. */
async function finished(
  program: string,
  args: readonly string[],
  input: Buffer | undefined,
  each: (line: string) => void = () => {},
): Promise<void> {
  const child = spawn(program, args, {
    detached: true,
    env: { ...process.env, LC_ALL: 'C', PATH: [process.env['PATH'], ...SBIN].join(':') },
    stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), LIMIT);
  try {
    let said = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(0, LONGEST_SAID);
    });
    child.stdin?.on('error', () => {}); // it ended before it took everything; how it ended tells
    child.stdin?.end(input);
    const ended = new Promise<string | undefined>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => resolve(code === 0 ? undefined : String(signal ?? code)));
    });
    ended.catch(() => {}); // told below, after the lines
    if (child.stdout !== null) for await (const line of createInterface({ input: child.stdout })) each(line);
    const failed = await ended;
    if (failed !== undefined) throw new Error(`${program} ended with ${failed}: ${visible(said.trim())}`);
  } catch (cause) {
    child.kill('SIGKILL');
    const missing = cause instanceof Error && 'code' in cause && cause.code === 'ENOENT';
    throw new SluiceError(
      'SETUP',
      missing ? `there is no program ${program}` : `cannot cut connections: ${errorText(cause)}`,
      { cause, remedy: missing ? `apt-get install ${program}` : 'conntrack -L shows what is followed' },
    );
  } finally {
    clearTimeout(timer);
  }
}
