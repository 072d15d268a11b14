import { type Bytes, bytes } from '../core/units.ts';

/** Powers of 1000 as disks are sold, powers of 1024 where the name says so (IEC 80000-13). */
const UNITS = new Map([
  ['B', 1],
  ['kB', 1_000],
  ['MB', 1_000_000],
  ['GB', 1_000_000_000],
  ['TB', 1_000_000_000_000],
  ['KiB', 1_024],
  ['MiB', 1_048_576],
  ['GiB', 1_073_741_824],
  ['TiB', 1_099_511_627_776],
]);

export const SIZE = /^(\d{1,9})(B|[kMGT]B|[KMGT]iB)$/;
export const SIZE_EXAMPLES = 'a whole number with a unit, such as 64MB, 2GB or 512MiB';

/** A petabyte: more than any gateway holds, and far below 2^53. */
const LARGEST = 1e15;

/** `64MB 2GB 512MiB`; undefined where the text is something else. */
export function parseSize(text: string): Bytes | undefined {
  const [, amount = '', unit = ''] = SIZE.exec(text) ?? [];
  const size = Number(amount) * (UNITS.get(unit) ?? Number.NaN);
  return size <= LARGEST ? bytes(size) : undefined;
}

/** Whole megabytes, as a person would write them; below one, bytes. */
export function formatSize(size: Bytes): string {
  return size < 1_000_000 ? `${size}B` : `${Math.floor(size / 1_000_000)}MB`;
}
