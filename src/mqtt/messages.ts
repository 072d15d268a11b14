import type { CommandResult } from '../core/command.ts';
import { type Bytes, type EpochMs, kibibytes } from '../core/units.ts';

/** A command is an id and a value; whatever is larger is something else. */
export const MAX_COMMAND_BYTES: Bytes = kibibytes(4);

/** A message on `command/<device>/<point>`, not yet read. Who may do what is decided elsewhere. */
export interface InboundCommand {
  /** Certificate name of the asker; `upstream` where the platform's broker vouches for it. */
  readonly by: string;
  readonly device: string;
  readonly point: string;
  readonly payload: Uint8Array;
  /** A retained command is one from the past: it must not be carried out. */
  readonly retained: boolean;
}

/** Payload of `status` while the gateway is there. */
export function onlineStatus(since: EpochMs, version: string): string {
  return JSON.stringify({ state: 'online', since: new Date(since).toISOString(), version });
}

/** Payload of `status` afterwards; the last will does not know when it will be sent. */
export function offlineStatus(since?: EpochMs): string {
  return JSON.stringify({
    state: 'offline',
    ...(since === undefined ? {} : { since: new Date(since).toISOString() }),
  });
}

export function resultPayload(result: CommandResult): Uint8Array {
  return Buffer.from(JSON.stringify(result));
}
