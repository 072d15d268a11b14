import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { FORWARDED, type Forwarded } from './forwarding.ts';
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

export interface DriftTold {
  readonly events: readonly DriftEvent[];
  readonly givenUp: GivenUp | undefined;
  /** What was forwarded until it was stopped, as rules that could not be put right left it open; undefined where it goes on. */
  readonly stopped: Forwarded | undefined;
}

/** `segmentation/drift.json`: what happened last, for status and for whoever follows it. */
export class DriftBook {
  readonly #path: string;

  constructor(folder: string) {
    this.#path = join(folder, DRIFT);
  }

  /** What is damaged says nothing; the audit still does. */
  read(): DriftTold {
    try {
      const json: unknown = JSON.parse(readFileSync(this.#path, 'utf8'));
      if (!isObject(json) || !Array.isArray(json['events'])) return NOTHING;
      const events: readonly unknown[] = json['events'];
      return {
        events: events.filter(isEvent),
        givenUp: givenUpOf(json['given-up']),
        stopped: stoppedOf(json['stopped']),
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

  /** What goes on until the rules hold again. Throws where it cannot be written. */
  note(state: Omit<DriftTold, 'events'>): void {
    this.#write({ events: this.read().events, ...state });
  }

  #write({ events, givenUp, stopped }: DriftTold): void {
    const partial = `${this.#path}.partial`;
    const file = openSync(partial, 'w', 0o600);
    try {
      const json = { v: 1, events, 'given-up': givenUp ?? null, stopped: stopped ?? null };
      writeSync(file, `${JSON.stringify(json, undefined, 2)}\n`);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(partial, this.#path);
  }
}

const NOTHING: DriftTold = { events: [], givenUp: undefined, stopped: undefined };
const LISTS = ['by', 'what', 'gained', 'lost', 'packets'];

function isEvent(json: unknown): json is DriftEvent {
  if (!isObject(json) || typeof json['time'] !== 'string' || typeof json['outcome'] !== 'string')
    return false;
  return LISTS.every((name) => {
    const list: unknown = json[name];
    return Array.isArray(list) && list.every((one) => typeof one === 'string');
  });
}

const givenUpOf = (json: unknown): GivenUp | undefined =>
  isObject(json) && typeof json['since'] === 'string' ? { since: json['since'] } : undefined;

const stoppedOf = (json: unknown): Forwarded | undefined =>
  Array.isArray(json) ? FORWARDED.filter((family) => json.includes(family)) : undefined;
