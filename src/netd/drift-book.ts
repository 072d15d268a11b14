import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeDurably } from './durable.ts';
import { FORWARDED, type Forwarded } from './forwarding.ts';
import { bootId } from './monotonic.ts';
import { isObject } from './request.ts';

export const DRIFT = 'drift.json';
/** The audit has all of them; these are for who looks at what happened last. */
const MOST_EVENTS = 20;

/** What somebody else did to our tables, and what became of it. */
export interface DriftEvent {
  readonly time: string;
  /** Who may have done it; empty where nobody was seen. */
  readonly by: readonly string[];
  /** Names of what differed. */
  readonly what: readonly string[];
  readonly gained: readonly string[];
  readonly lost: readonly string[];
  readonly packets: readonly string[];
  readonly unclear: string | null;
  /** The change that waited; null where the confirmed rules should have held. */
  readonly change: string | null;
  readonly outcome: 'healed' | 'left' | 'failed' | 'given up';
  readonly detail: string | null;
}

/** Another program kept changing what was put right: nothing is put right until the rules hold again. */
export interface GivenUp {
  readonly since: string;
}

/** What goes on until the rules hold again, or the machine is started: that sets its own switches. */
export interface GoesOn {
  readonly givenUp: GivenUp | undefined;
  /** What was forwarded until it was stopped, as rules that could not be put right left it open; undefined where it goes on. */
  readonly stopped: Forwarded | undefined;
}

export interface DriftTold extends GoesOn {
  readonly events: readonly DriftEvent[];
}

/** `segmentation/drift.json`: what happened last, for status and for whoever follows it. */
export class DriftBook {
  readonly #path: string;
  /** As this process knows it, whatever becomes of the disk. */
  #held: GoesOn | undefined;

  constructor(folder: string) {
    this.#path = join(folder, DRIFT);
  }

  /** For the process that acts by it: from now on its own word counts, and the disk is told. */
  take(): void {
    this.#held = this.#onDisk();
  }

  read(): DriftTold {
    return { ...this.#onDisk(), ...this.#held };
  }

  /** What is damaged says nothing; the audit still does. */
  #onDisk(): DriftTold {
    try {
      const json: unknown = JSON.parse(readFileSync(this.#path, 'utf8'));
      if (!isObject(json) || !Array.isArray(json['events'])) return NOTHING;
      const events: readonly unknown[] = json['events'];
      return {
        events: events.filter(isEvent),
        ...goesOnOf(json),
      };
    } catch {
      return NOTHING;
    }
  }

  /** Throws where it cannot be written. */
  add(event: DriftEvent): void {
    const told = this.read();
    this.#write({ ...told, events: [...told.events, event].slice(-MOST_EVENTS) });
  }

  /** In force when this returns, and on the disk after the next `settle` that does not throw. */
  note({ givenUp, stopped }: GoesOn): void {
    this.#held = { givenUp, stopped };
  }

  /** Writes what the disk has not, or has otherwise. Throws where it still does not take it. */
  settle(): void {
    const disk = this.#onDisk();
    if (this.#held !== undefined && goesOnText(this.#held) !== goesOnText(disk))
      this.#write({ ...disk, ...this.#held });
  }

  #write({ events, givenUp, stopped }: DriftTold): void {
    const json = { v: 1, boot: bootId(), events, 'given-up': givenUp ?? null, stopped: stopped ?? null };
    writeDurably(this.#path, `${JSON.stringify(json, undefined, 2)}\n`);
  }
}

const NOTHING_GOES_ON: GoesOn = { givenUp: undefined, stopped: undefined };
const NOTHING: DriftTold = { events: [], ...NOTHING_GOES_ON };
const LISTS = ['by', 'what', 'gained', 'lost', 'packets'];

function isEvent(json: unknown): json is DriftEvent {
  if (!isObject(json) || typeof json['time'] !== 'string' || typeof json['outcome'] !== 'string')
    return false;
  return LISTS.every((name) => {
    const list: unknown = json[name];
    return Array.isArray(list) && list.every((one) => typeof one === 'string');
  });
}

/** Earlier builds did not write of which start of the machine it is, and what was stopped beside whether it is given up. */
function goesOnOf(json: Readonly<Record<string, unknown>>): GoesOn {
  const { boot, 'given-up': givenUp, stopped } = json;
  if (boot !== undefined && boot !== bootId()) return NOTHING_GOES_ON;
  const before: unknown = isObject(givenUp) ? givenUp['stopped'] : undefined;
  return { givenUp: givenUpOf(givenUp), stopped: stoppedOf(stopped) ?? stoppedOf(before) };
}

const goesOnText = ({ givenUp, stopped }: GoesOn): string => JSON.stringify([givenUp?.since, stopped]);

const givenUpOf = (json: unknown): GivenUp | undefined =>
  isObject(json) && typeof json['since'] === 'string' ? { since: json['since'] } : undefined;

const stoppedOf = (json: unknown): Forwarded | undefined =>
  Array.isArray(json) ? FORWARDED.filter((family) => json.includes(family)) : undefined;
