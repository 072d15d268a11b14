import { streamLog } from '../core/log.ts';
import { runGateway } from '../gateway.ts';
import { holdData } from '../sole-instance.ts';
import { loadConfig } from './load.ts';
import { HELP, oneFile, parsedOptions } from './options.ts';
import { runUntilStopped } from './until-stopped.ts';

const TEXT = `Usage: ./sluice run [gateway.yaml]

Runs the gateway until SIGINT or SIGTERM. Its log goes to standard error: for a person on a terminal, one JSON object a
line elsewhere. Nothing is started where the configuration is wrong.

Exit status: 0 stopped on request, 1 failed, 78 wrong configuration, 64 wrong usage.
`;

export async function run(args: readonly string[]): Promise<number> {
  const { values, positionals } = parsedOptions('run', args, HELP);
  if (values.help) {
    process.stdout.write(TEXT);
    return 0;
  }
  const config = await loadConfig(oneFile('run', positionals));
  using held = new DisposableStack();
  held.use(holdData(config.gateway.data));
  const log = streamLog();
  await runUntilStopped([{ name: 'gateway', run: async (signal) => runGateway(config, log, signal) }]);
  return 0;
}
