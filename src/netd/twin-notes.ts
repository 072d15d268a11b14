// What nft lists of a table that notes what arrived.

/** What a host noted of what came: see WATCH in twin.ts. */
export interface Notes {
  readonly seen: ReadonlySet<string>;
  readonly pings: ReadonlySet<string>;
  readonly pongs: ReadonlySet<string>;
  /** Address and hardware address, by ARP. */
  readonly heard: ReadonlySet<string>;
}

export function notesOf(listings: readonly string[]): Notes {
  const sets = listings.flatMap(objectsIn).flatMap((object) => field(object, 'set') ?? []);
  const keys = (stem: string): ReadonlySet<string> =>
    new Set(
      sets
        .filter((set) => String(field(set, 'name')).startsWith(stem))
        .flatMap((set) =>
          listOf(field(set, 'elem')).map((elem) => keyText(field(field(elem, 'elem') ?? {}, 'val') ?? elem)),
        ),
    );
  return { seen: keys('seen'), pings: keys('ping'), pongs: keys('pong'), heard: keys('heard') };
}

const keyText = (key: unknown): string => listOf(field(key, 'concat')).map(String).join(' ');

const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

export function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null
    ? Object.entries(value).find(([key]) => key === name)?.[1]
    : undefined;
}

export function objectsIn(text: string): readonly unknown[] {
  return listOf(field(JSON.parse(text), 'nftables'));
}
