import { existsSync, realpathSync } from 'node:fs';
import type { Config } from '../config/config.ts';
import { SluiceError } from '../core/errors.ts';
import { shellWord } from '../core/shell-word.ts';
import { visible } from '../core/visible.ts';
import { Audit, type Who } from '../netd/audit.ts';
import { type Connection, netdAt, socketOf } from '../netd/client.ts';
import { recordUndone } from '../netd/drift-event.ts';
import { Firewall } from '../netd/firewall.ts';
import { whoElse } from '../netd/ours.ts';
import { perform } from '../netd/perform.ts';
import type { Request, Verb } from '../netd/request.ts';
import type { Told } from '../netd/tell.ts';
import { userName } from '../netd/users.ts';
import { directoryOf } from '../segmentation/suspects.ts';
import { asTyped, typed } from './as-typed.ts';
import { askingSession } from './asking-session.ts';
import { declaredPolicy } from './declared-policy.ts';
import { DEFAULT_FILE, gatewayOf, type Known, loadConfig, loadGateway } from './load.ts';
import { oneFile, usage } from './options.ts';

// What changes the rules of this machine, and how it stands: through netd where it answers, and directly otherwise.

export type Asking = 'plan' | 'apply' | 'confirm' | 'rollback' | 'island' | 'rejoin' | 'status';

/** In characters; netd takes no longer one. */
const LONGEST_REASON = 200;

const UNKNOWN_SESSION = `it is not known by which connection this came (no ssh, and the kernel counts no logins): that
it is newer than the change, so that you can still come in, was for you to see
`;

export interface ChangeOptions {
  readonly json: boolean;
  /** Where netd listens; the place of this gateway below /run/sluice where left out. */
  readonly socket: string | undefined;
  readonly because?: string | undefined;
}

export async function runChange(
  verb: Asking,
  args: readonly string[],
  options: ChangeOptions,
): Promise<number> {
  const [first = '', ...others] = args;
  const file = oneFile(`firewall ${verb}`, verb === 'confirm' ? others : args);
  if (verb === 'confirm' && !/^[0-9a-f]{8}$/.test(first)) {
    const example = './sluice firewall confirm 5f3a90c2';
    const said = { file: others[0] ?? (first.includes('.') ? first : DEFAULT_FILE), socket: options.socket };
    throw usage(
      'firewall',
      `firewall confirm wants the change that apply named, as in: ${asTyped(example, said)}`,
    );
  }
  const because = verb === 'island' ? reason('firewall island', options.because) : undefined;
  const more = { ...(verb === 'confirm' && { change: first }), ...(because !== undefined && { because }) };
  return runRequest({ verb, ...more }, file, options);
}

/** Asks, prints what came of it; exit status 0 where that is good. */
export async function runRequest(request: Request, file: string, options: ChangeOptions): Promise<number> {
  const said = { file, socket: options.socket };
  const { result, text, good } = await typed(said, async () => asked(request, file, options));
  // Whose file it is netd does not know: what it goes by has another name for it.
  const whole = request.verb === 'plan' ? { file, ...result } : result;
  process.stdout.write(options.json ? `${JSON.stringify(whole)}\n` : asTyped(text, said));
  return good ? 0 : 1;
}

async function asked(request: Request, file: string, { socket }: ChangeOptions): Promise<Told> {
  const known = NEW.includes(request.verb) ? await wholly(file) : await loadGateway(file);
  const session = askingSession();
  const asks = { ...request, ...(session !== undefined && { session }) };
  // Whoever only compares may do so with a file that is not in use yet, and as somebody whom netd does not answer.
  const mayPass = request.verb === 'plan' && socket === undefined;
  using netd = await netdOf(known, file, { socket, mayPass });
  let told: Told;
  if (netd === undefined) {
    const firewall = new Firewall(gatewayOf(known).data);
    const machine = {
      firewall,
      audit: new Audit(firewall.folder),
      declared: async () => {
        const { confirmWithin, mustWork: flows, mustWorkWithin: within } = right(known, file).segmentation;
        return { policy: await declaredPolicy(file), confirmWithin, mustWork: { flows, within } };
      },
      directory: async () => directoryOf(right(known, file)),
    };
    const who = me();
    try {
      told = await perform(machine, asks, { who });
    } finally {
      // What fails may have undone something before, or when it was taken back.
      const undone = await recordUndone(firewall, machine.audit, who);
      if (undone.length > 0)
        process.stderr.write(`undone, as another program had changed it: ${visible(undone.join(', '))}\n`);
    }
    warnOf(firewall.folder);
  } else {
    told = await netd.ask(asks);
  }
  if (request.verb === 'confirm' && session === undefined) process.stderr.write(UNKNOWN_SESSION);
  return told;
}

/** What goes by the file, and not by what is in force. */
const NEW: readonly Verb[] = ['plan', 'apply'];

async function wholly(file: string): Promise<Known> {
  const config = await loadConfig(file);
  return { gateway: config.gateway, config };
}

function right({ config }: Known, file: string): Config {
  if (config !== undefined) return config;
  throw new SluiceError('CONFIG_INVALID', `${file} is wrong`, {
    remedy: `./sluice check ${shellWord(file)}`,
  });
}

/** Undefined where none listens, or another one may be passed by. Which way it goes is said on standard error. */
export async function netdOf(
  known: Known,
  file: string,
  { socket, mayPass = false }: { readonly socket: string | undefined; readonly mayPass?: boolean },
): Promise<Connection | undefined> {
  const path = socket ?? socketOf(gatewayOf(known).id);
  let why = `no netd listens at ${path}`;
  try {
    const connection = await netdAt(path);
    if (connection !== undefined) {
      mustBeFor(connection, file, path);
      process.stderr.write(`through netd at ${visible(path)}\n`);
      return connection;
    }
  } catch (error) {
    if (!mayPass || !(error instanceof SluiceError)) throw error;
    why = error.message;
  }
  process.stderr.write(`directly: ${visible(why)}\n`);
  return undefined;
}

/** netd compiles what it was started with: asked about another file it would do something else than was meant. */
function mustBeFor(connection: Connection, file: string, path: string): void {
  const { gateway, config } = connection;
  if (config === realpathSync(file)) return;
  connection[Symbol.dispose]();
  throw new SluiceError(
    'SETUP',
    `netd at ${path} runs ${gateway} by ${config}, not by ${realpathSync(file)}: nothing was asked for`,
    { remedy: `name ${config}, or the socket of another netd with --socket` },
  );
}

/** On a machine of one's own that is as it should be; netd and the start of a machine refuse it. */
function warnOf(folder: string): void {
  if (!existsSync(folder)) return;
  const others = whoElse(folder);
  if (others === undefined) return;
  process.stderr.write(
    `somebody else could put other rules in the place of ${visible(folder)}: ${visible(others)}; docs/segmentation.md tells how it should be\n`,
  );
}

/** Who became root by sudo is named; that is what they say, and what the kernel knows is the uid. */
function me(): Who {
  const uid = process.getuid?.() ?? 0;
  const person = process.env['SUDO_USER'];
  return {
    uid,
    user: userName(uid),
    via: 'command line',
    ...(person !== undefined && person !== '' && { person: person.slice(0, 64) }),
  };
}

/** Whoever finds it months later has to know why. Throws USAGE where it is missing. */
export function reason(command: string, because: string | undefined): string {
  const [name = ''] = command.split(' ');
  if (because !== undefined && because.trim() !== '' && because.length <= LONGEST_REASON) return because;
  throw usage(name, `${command} wants a reason: --because "..." of at most ${LONGEST_REASON} characters`);
}
