/** What a backup has to know of databases; the store says it. All throw SluiceError with what is wrong. */
export interface Databases {
  /** A copy as of one moment, while somebody else writes. */
  snapshot(file: string, copy: string): void;
  /** Is copying its bytes enough? */
  isSealed(file: string): boolean;
  /** Reads the whole file; returns the version of its schema. `name` is that in the archive. */
  check(file: string, name: string): number;
  /** Was that thrown because the file itself is no good? Anything else says nothing about it. */
  isDamaged(error: unknown): boolean;
  /** Was that thrown because somebody else holds the file for the moment? */
  isHeld(error: unknown): boolean;
}
