import { failureFor } from '../netd/tell.ts';

/** A program that asked for JSON gets an answer where the command fails too; standard error tells people as ever. */
export async function answerInJson(json: boolean, act: () => Promise<number>): Promise<number> {
  try {
    return await act();
  } catch (error) {
    if (json) process.stdout.write(`${JSON.stringify(failureFor(error))}\n`);
    throw error;
  }
}
