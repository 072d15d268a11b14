import { type ParseArgsConfig, parseArgs } from 'node:util';
import { errorText, SluiceError } from '../core/errors.ts';

interface ConfigOptions {
  /** The configuration that was named, if any. */
  readonly file: string | undefined;
  readonly help: boolean;
  readonly json: boolean;
}

/**
 * Options of a command that takes a configuration as last argument, `--help` and, where it says so, `--json`.
 * @throws SluiceError USAGE
 */
export function configOptions(command: string, args: readonly string[], takesJson = false): ConfigOptions {
  const options: ParseArgsConfig['options'] = { help: { type: 'boolean', short: 'h' } };
  if (takesJson) options['json'] = { type: 'boolean' };
  try {
    const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true });
    if (positionals.length > 1) throw new Error(`one configuration, not ${positionals.length}`);
    return { file: positionals[0], help: values['help'] === true, json: values['json'] === true };
  } catch (cause) {
    throw new SluiceError('USAGE', errorText(cause), {
      cause,
      remedy: `./sluice ${command} --help tells more`,
    });
  }
}
