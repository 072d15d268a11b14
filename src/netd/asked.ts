import { execFile } from 'node:child_process';
import { type Duration, mebibytes, seconds } from '../core/units.ts';
import { nftEnvironment } from './nft.ts';

const LIMIT: Duration = seconds(10);
const LARGEST = mebibytes(8);

/** The JSON that nft, ip or tc print; an empty list where that is nothing. Throws what they complain about. */
export async function asked(program: string, args: readonly string[]): Promise<unknown> {
  const out = await new Promise<string>((resolve, reject) => {
    const options = {
      env: nftEnvironment(),
      timeout: LIMIT,
      killSignal: 'SIGKILL',
      maxBuffer: LARGEST,
    } as const;
    execFile(program, args, options, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else if (error.signal) reject(new Error(`${program} was killed by ${error.signal}`));
      else reject(new Error(stderr.trim() || error.message));
    });
  });
  const json: unknown = out.trim() === '' ? [] : JSON.parse(out);
  return json;
}
