import { join } from 'node:path';
import { SluiceError } from '../core/errors.ts';
import { type EpochMs, epochMs } from '../core/units.ts';
import { KeptFile } from './kept-file.ts';

/** The gateway is an island since then. */
export interface Island {
  readonly since: EpochMs;
  readonly because: string;
  readonly who: string;
}

/** `island.json`: while it is there, every conduit is cut, whatever is applied, confirmed, rolled back or started. */
export class IslandMark {
  readonly file: KeptFile;

  constructor(folder: string) {
    this.file = new KeptFile(join(folder, 'island.json'));
  }

  /** Throws where it cannot be read. One that is damaged is one all the same: a cut is not undone by accident. */
  get(): Island | undefined {
    const text = this.file.read();
    if (text === undefined) return undefined;
    try {
      const json: unknown = JSON.parse(text);
      if (isIsland(json)) return { ...json, since: epochMs(json.since) };
    } catch {
      // told below
    }
    return { since: epochMs(0), because: 'unknown: island.json is damaged', who: 'unknown' };
  }

  /** Whatever becomes of the disk. */
  set(island: Island): void {
    this.file.hold(`${JSON.stringify(island, undefined, 2)}\n`);
  }

  clear(): void {
    this.file.remove();
  }
}

function isIsland(json: unknown): json is Island {
  if (typeof json !== 'object' || json === null) return false;
  const has = (key: string, type: string): boolean => key in json && typeof Reflect.get(json, key) === type;
  return has('since', 'number') && has('because', 'string') && has('who', 'string');
}

export function noPolicy(): SluiceError {
  return new SluiceError(
    'SETUP',
    'what the rules that hold, or those that were confirmed, were made of is not known: they cannot be cut to an island',
    {
      remedy: './sluice firewall apply and confirm, then again; to cut by hand: ip link set INTERFACE down',
    },
  );
}
