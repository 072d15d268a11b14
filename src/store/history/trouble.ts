import { errorText } from '../../core/errors.ts';

/** Something went wrong with one file of the history; the cause says what, and `isDamage` or `isFull` sort it. */
export class FileTrouble extends Error {
  readonly file: string;

  constructor(file: string, cause: unknown) {
    super(`${file}: ${errorText(cause)}`, { cause });
    this.name = 'FileTrouble';
    this.file = file;
  }
}

/** Does something to a file; what is thrown says to which. */
export function to<T>(file: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw error instanceof FileTrouble ? error : new FileTrouble(file, error);
  }
}

/** What was thrown in the first place. */
export function causeOf(error: unknown): unknown {
  return error instanceof FileTrouble ? error.cause : error;
}
