import { SluiceError } from '../core/errors.ts';
import { DEFAULT_FILE } from './load.ts';
import { shellWord } from '../core/shell-word.ts';

/** What was said on the command line that the next command has to say too. */
export interface Said {
  readonly file: string;
  readonly socket?: string | undefined;
}

/** What netd is asked, with what has to follow it; and what is done without netd, which takes no socket. */
const CHANGES = String.raw`firewall (?:confirm [0-9a-f]{8}|confirm|apply|rollback|status|plan|island|rejoin)`;
const ASKING = String.raw`${CHANGES}|quarantine(?= lists)|release [\w.:-]*\w`;
const ALONE = String.raw`firewall (?:render|prove|probe|audit)|network (?:plan|apply|verify)`;
const COMMAND = new RegExp(String.raw`\./sluice (?:(${ASKING})|${ALONE})\b`, 'g');

/**
 * Commands in a text, as they have to be typed to mean the same gateway: what is pasted as it stands goes by the file of
 * the working directory.
 */
export function asTyped(text: string, { file, socket }: Said): string {
  const where = file === DEFAULT_FILE ? '' : ` ${shellWord(file)}`;
  const by = socket === undefined ? '' : ` --socket ${shellWord(socket)}`;
  return text.replaceAll(COMMAND, (command: string, asking: string | undefined) =>
    asking === undefined ? `${command}${where}` : `${command}${by}${where}`,
  );
}

/** Runs it; what it throws names commands as they have to be typed. */
export async function typed<T>(said: Said, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    if (!(error instanceof SluiceError)) throw error;
    const { code, message, remedy } = error;
    throw new SluiceError(code, asTyped(message, said), {
      cause: error,
      ...(remedy !== undefined && { remedy: asTyped(remedy, said) }),
    });
  }
}
