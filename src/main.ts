// Command line only: picks a command of cli/.
import { nearest } from './config/nearest.ts';
import { errorText, SluiceError } from './core/errors.ts';

/** sysexits.h: EX_USAGE and EX_CONFIG, as DESIGN 5.2 promises. */
const EXIT = { failed: 1, usage: 64, configuration: 78 } as const;

interface Command {
  readonly summary: string;
  readonly run: (args: readonly string[]) => Promise<number>;
  /** What it prints may be a stream of values, among which a failure has no place. */
  readonly streams?: true;
}

// A command is loaded when it is asked for, so that `check` does not pay for the broker.
const COMMANDS: Readonly<Record<string, Command>> = {
  demo: {
    summary: 'a simulated plant and the gateway in front of it: what npm start runs',
    run: async (args) => (await import('./cli/demo.ts')).run(args),
  },
  run: {
    summary: 'run the gateway',
    run: async (args) => (await import('./cli/run.ts')).run(args),
  },
  check: {
    summary: 'check a configuration; needs no device, no root and no network',
    run: async (args) => (await import('./cli/check.ts')).run(args),
  },
  plan: {
    summary: 'show every request that will be sent, and the load on each line',
    run: async (args) => (await import('./cli/plan.ts')).run(args),
  },
  network: {
    summary: 'make the VLANs of the zones, on a trunk or a bridge, and check them',
    run: async (args) => (await import('./cli/network.ts')).run(args),
  },
  firewall: {
    summary: 'print, apply, confirm and prove the network rules that follow from a configuration',
    run: async (args) => (await import('./cli/firewall.ts')).run(args),
  },
  quarantine: {
    summary: 'cut a device off, for a while or until it is released; or list who is',
    run: async (args) => (await import('./cli/quarantine.ts')).run(args),
  },
  release: {
    summary: 'let a device out of quarantine',
    run: async (args) => (await import('./cli/quarantine.ts')).runRelease(args),
  },
  netd: {
    summary: 'the process that changes the network rules of this machine, behind a socket',
    run: async (args) => (await import('./cli/netd.ts')).run(args),
  },
  simulate: {
    summary: 'serve the devices of a configuration, with the real protocols on real sockets',
    run: async (args) => (await import('./cli/simulate.ts')).run(args),
    streams: true,
  },
  history: {
    summary: 'show what the gateway remembers: charts, last samples, gaps with their reasons',
    run: async (args) => (await import('./cli/history.ts')).run(args),
  },
  credentials: {
    summary: 'issue a client certificate for the embedded broker',
    run: async (args) => (await import('./cli/credentials.ts')).run(args),
  },
  export: {
    summary: 'write recorded samples as CSV, JSON lines or Parquet',
    run: async (args) => (await import('./cli/export.ts')).run(args),
    streams: true,
  },
  backup: {
    summary: 'write the databases of a gateway, running or not, into one file',
    run: async (args) => (await import('./cli/backup.ts')).run(args),
  },
  restore: {
    summary: 'check a backup, and put it in the place of the data of a stopped gateway',
    run: async (args) => (await import('./cli/restore.ts')).run(args),
  },
  schema: {
    summary: 'print the JSON Schema of gateway.yaml',
    run: async (args) => (await import('./cli/schema.ts')).run(args),
  },
  version: {
    summary: 'print the version',
    run: async (args) => (await import('./cli/version.ts')).run(args),
  },
};

function usage(): string {
  const width = Math.max(...Object.keys(COMMANDS).map((name) => name.length));
  const lines = Object.entries(COMMANDS).map(([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`);
  return `Usage: ./sluice <command> [options] [gateway.yaml]\n\n${lines.join('\n')}\n\n./sluice <command> --help tells more.\n`;
}

async function main(name: string | undefined, args: readonly string[]): Promise<number> {
  if (name === undefined) {
    process.stderr.write(usage());
    return EXIT.usage;
  }
  if (name === '--help' || name === '-h' || (name === 'help' && args.length === 0)) {
    process.stdout.write(usage());
    return 0;
  }
  if (name === 'help') return main(args[0], ['--help']);
  if (name === '--version') return main('version', args);
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined) {
    const meant = nearest(name, Object.keys(COMMANDS));
    const hint = meant === undefined ? '' : `; did you mean ${meant}?`;
    process.stderr.write(`sluice: there is no command "${name}"${hint}\n\n${usage()}`);
    return EXIT.usage;
  }
  try {
    return await command.run(args);
  } catch (error) {
    if (args.includes('--json') && command.streams !== true) await answer(error);
    return explain(error);
  }
}

/** A program that asked for JSON gets an answer too, in the words of netd; standard error tells people as ever. */
async function answer(error: unknown): Promise<void> {
  const { failureFor } = await import('./netd/tell.ts');
  process.stdout.write(`${JSON.stringify(failureFor(error))}\n`);
}

function explain(error: unknown): number {
  if (!(error instanceof SluiceError)) {
    // A bug: whoever reports it needs the stack.
    process.stderr.write(
      `sluice: ${error instanceof Error ? (error.stack ?? error.message) : errorText(error)}\n`,
    );
    return EXIT.failed;
  }
  process.stderr.write(`sluice: ${error.message}${error.remedy === undefined ? '' : `; ${error.remedy}`}\n`);
  if (error.code === 'USAGE') return EXIT.usage;
  return error.code === 'CONFIG_INVALID' ? EXIT.configuration : EXIT.failed;
}

/** Whoever read what we print has gone (`| head`): nobody wants the rest, and there is no bug to report. */
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') {
    process.stderr.write(
      `sluice: cannot write to standard output: ${errorText(error)}; make room, or send it elsewhere\n`,
    );
    process.exit(EXIT.failed);
  }
  // A command that has more to do than to print listens too.
  if (process.stdout.listenerCount('error') === 1) process.exit(0);
});
// A log that nobody takes any more must not end the gateway.
process.stderr.on('error', () => {});

// What we write is for the user and its group: a data folder that others may enter still keeps its values.
const FOR_OTHERS_NOTHING = 0o027;
process.umask(FOR_OTHERS_NOTHING | process.umask(FOR_OTHERS_NOTHING)); // stricter stays stricter

process.exitCode = await main(process.argv[2], process.argv.slice(3));
