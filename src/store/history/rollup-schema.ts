/** Raise it with every change that an older Sluice could not read. */
export const ROLLUP_VERSION = 1;

export type RollupTier = 'minute' | 'hour';

/** It is in the tier that is kept longest. */
const RAW_FILED = `
CREATE TABLE raw_filed(    -- marks of raw files that were given up when everything in them was in the rollups
  day INTEGER NOT NULL,    -- milliseconds since 1970
  log INTEGER NOT NULL,    -- identity of the sample log
  row INTEGER NOT NULL,    -- rows up to this one were in,
  floor INTEGER NOT NULL,  -- of those their samples from here on; of log 0: raw of the day begins here
  PRIMARY KEY(day, log)
) STRICT, WITHOUT ROWID;
`;

/**
 * Tables of a file of rollups. A row holds an hour of minutes or a day of hours of one series; `rollup-text.ts` says
 * what its body is. The view is called like the tier; it shows the mean between min and max, whatever rounding did.
 */
export function rollupTables(tier: RollupTier, bucket: number): string {
  return `
CREATE TABLE series(id INTEGER PRIMARY KEY, device TEXT NOT NULL, point TEXT NOT NULL, unit TEXT NOT NULL DEFAULT '',
  UNIQUE(device, point, unit)) STRICT;
CREATE TABLE rollup(
  id INTEGER PRIMARY KEY,
  series INTEGER NOT NULL,
  start INTEGER NOT NULL,  -- of the first bucket, milliseconds since 1970
  n INTEGER NOT NULL,      -- buckets
  len INTEGER NOT NULL,    -- of the text in bytes; body is the plain text where it is as long, else zlib
  body BLOB NOT NULL       -- JSON: for each bucket 0 or [changes, first, last, min, max, sum, m2, count, …]
) STRICT;
CREATE UNIQUE INDEX rollup_key ON rollup(series, start);
CREATE TABLE filed(log INTEGER PRIMARY KEY, row INTEGER NOT NULL) STRICT; -- late samples of the sample log that are in
${tier === 'hour' ? RAW_FILED : ''}CREATE VIEW ${tier} AS
SELECT device, point, datetime(ms / 1000, 'unixepoch') AS time, count,
  (count - bad - uncertain) * 1.0 / count AS good, min, max,
  max(min, min(max, sum * 1.0 / nullif(count - bad - texts, 0))) * 1.0 AS mean,
  sqrt(m2 * 1.0 / nullif(count - bad - texts, 0)) AS deviation,
  first, last, changes, unit
FROM (
  SELECT device, point, unit, rollup.start + bucket.key * ${bucket} AS ms,
    bucket.value->>0 AS changes, bucket.value->>1 AS first, bucket.value->>2 AS last,
    bucket.value->>3 AS min, bucket.value->>4 AS max, bucket.value->>5 AS sum, bucket.value->>6 AS m2,
    bucket.value->>7 AS count, coalesce(bucket.value->>10, 0) AS bad,
    coalesce(bucket.value->>11, 0) AS uncertain, coalesce(bucket.value->>12, 0) AS texts
  FROM rollup JOIN series ON series.id = rollup.series,
    json_each(CAST(sqlar_uncompress(rollup.body, rollup.len) AS TEXT)) AS bucket
  WHERE bucket.type = 'array'
);
PRAGMA user_version = ${ROLLUP_VERSION};`;
}
