import type { PointValue } from './batch.ts';

/** A wish to change a device. Somebody stands behind it. */
export interface Command {
  /** Given by the asker; the same id is carried out once. */
  readonly id: string;
  readonly device: string;
  readonly point: string;
  readonly value: PointValue;
  /** Certificate name of the asker, or `upstream` where the platform's broker vouches for it. */
  readonly by: string;
}

export type CommandResult =
  | { readonly id: string; readonly ok: true; readonly value: PointValue }
  | { readonly id: string; readonly ok: false; readonly error: string };
