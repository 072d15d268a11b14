import type { Lane } from '../core/outbox.ts';
import type { Cursor, Queue } from './cursor.ts';
import type { Journal, StoredRow, Wanted } from './journal.ts';
import type { Unread } from './protocol.ts';
import type { RecentRows } from './recent.ts';

/** What each lane hands out, in order, and of which rows. */
const QUEUES: Record<Lane, readonly (readonly [Queue, Wanted])[]> = {
  live: [
    ['events', 'events'],
    ['live', 'all'],
  ],
  history: [['history', 'telemetry']],
};

/** A row that was read; its text is nobody else's unless it is `kept`. */
export interface ReadRow extends StoredRow {
  readonly kept: boolean;
}

export interface Source {
  readonly journal: Journal;
  readonly recent: RecentRows;
  /** Gives up a row that cannot be read, and tells it. */
  readonly dropBroken: (row: number) => void;
}

export function unreadBy(cursor: Cursor, head: number): Unread {
  return {
    live: QUEUES.live.some(([queue]) => cursor.unread(queue, head).length > 0),
    history: cursor.unread('history', head).length > 0,
  };
}

/** Adds rows of the lane that the cursor has not handed out, oldest first, until they take about `limit` bytes. */
export function handOut(
  cursor: Cursor,
  { lane, limit }: { readonly lane: Lane; readonly limit: number },
  { journal, recent: newest, dropBroken }: Source,
  rows: ReadRow[],
): void {
  let bytes = 0;
  for (const [queue, wanted] of QUEUES[lane])
    while (bytes < limit) {
      const [range] = cursor.unread(queue, journal.head);
      if (range === undefined) break;
      const recent = newest.read(range, limit - bytes, wanted);
      const { rows: found, broken } = recent
        ? { rows: recent, broken: undefined }
        : journal.read(range, limit - bytes, wanted);
      for (const row of found) {
        rows.push({ ...row, kept: recent !== undefined });
        bytes += row.text.length;
      }
      const seen = broken === undefined ? range[1] : broken - 1;
      const ids = found.map(({ id }) => id);
      cursor.hand(queue, ids, bytes >= limit ? (ids.at(-1) ?? seen) : seen);
      if (broken === undefined) continue;
      dropBroken(broken); // before the cursor passes it: where it cannot be told it must stay
      cursor.hand(queue, [], broken);
    }
}
