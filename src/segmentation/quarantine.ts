import { parseAddress } from '../config/network.ts';
import { commandsOf, objectsOf } from './canonical.ts';
import { isRecord, text } from './field.ts';
import { written } from './written.ts';

// Who is in quarantine, as elements of the sets that the rules look into before anything else.

/** By what a device is told apart. */
export interface Suspect {
  /** Lower case, or undefined where it is not known. */
  readonly mac: string | undefined;
  /** Canonical. */
  readonly addresses: readonly string[];
}

/** Elements by the name of their set. */
export type QuarantineElements = ReadonlyMap<string, readonly string[]>;

export const QUARANTINE_SETS = ['q_mac', 'q_ip_4', 'q_ip_6'] as const;
/** More than that is no longer a quarantine; the kernel says so when it is full. */
export const QUARANTINE_SIZE = 1_024;
export const MAC = /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/;

export function quarantineElements(suspects: readonly Suspect[]): QuarantineElements {
  const macs = suspects.flatMap(({ mac }) => (mac !== undefined && MAC.test(mac) ? [mac] : []));
  const addresses = suspects.flatMap((suspect) =>
    suspect.addresses.flatMap((one) => parseAddress(one) ?? []),
  );
  const of = (family: 4 | 6): string[] =>
    addresses.flatMap((one) => (one.family === family ? [one.text] : []));
  return new Map([
    ['q_mac', sorted(macs)],
    ['q_ip_4', sorted(of(4))],
    ['q_ip_6', sorted(of(6))],
  ]);
}

const sorted = (texts: readonly string[]): string[] => [...new Set(texts)].toSorted();

/** The rules of both tables with these in quarantine from the first moment on; a document without the sets is what it was. */
export function withQuarantine(document: string, elements: QuarantineElements): string {
  if ([...elements.values()].every((some) => some.length === 0)) return document;
  const commands = commandsOf(document).map((command) => {
    const { add } = command;
    const set = isRecord(add) && isRecord(add['set']) ? add['set'] : undefined;
    const some = set === undefined ? undefined : elements.get(text(set['name']));
    return some === undefined || some.length === 0 ? command : { add: { set: { ...set, elem: some } } };
  });
  return written(commands);
}

/** The same rules with nobody in quarantine: what `withQuarantine` was given. */
export function withoutQuarantine(document: string): string {
  const names: readonly string[] = QUARANTINE_SETS;
  const commands = commandsOf(document).map((command) => {
    const { add } = command;
    const set = isRecord(add) && isRecord(add['set']) ? add['set'] : undefined;
    if (set === undefined || !names.includes(text(set['name']))) return command;
    const { elem: _, ...rest } = set;
    return { add: { set: rest } };
  });
  return written(commands);
}

/** All who are in one of them. */
export function joined(one: QuarantineElements, other: QuarantineElements): QuarantineElements {
  return new Map(
    QUARANTINE_SETS.map((name) => [name, sorted([...(one.get(name) ?? []), ...(other.get(name) ?? [])])]),
  );
}

/** Who the kernel holds in quarantine now. */
export function quarantinedIn(listing: string | undefined): QuarantineElements {
  const sets = listing === undefined ? [] : (objectsOf(listing) ?? []);
  const names: readonly string[] = QUARANTINE_SETS;
  return new Map(
    sets.flatMap(({ kind, inside }) => {
      const name = text(inside['name']);
      return kind === 'set' && names.includes(name) ? [[name, valuesOf(inside['elem'])] as const] : [];
    }),
  );
}

function valuesOf(json: unknown): string[] {
  const list: readonly unknown[] = Array.isArray(json) ? json : [];
  return list
    .map((one) => (isRecord(one) && isRecord(one['elem']) ? one['elem']['val'] : one))
    .filter((one) => typeof one === 'string');
}
