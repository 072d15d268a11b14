/** Raise it with every change that an older Sluice could not read. */
export const BOOK_VERSION = 1;

const time = (column: string): string =>
  `strftime('%Y-%m-%d %H:%M:%S', ${column} / 1000, 'unixepoch') AS ${column}`;

// Series are named here once more, because telemetry.db, where their numbers come from, may be lost and replaced. `log`
// and `row` say which row of which sample log it was, so that none is taken twice.
export const BOOK_TABLES = `
CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE series(
  id INTEGER PRIMARY KEY,
  device TEXT NOT NULL,
  point TEXT NOT NULL,
  unit TEXT NOT NULL DEFAULT '',
  UNIQUE(device, point, unit)
) STRICT;
CREATE TABLE recorded(
  id INTEGER PRIMARY KEY,
  ranges TEXT NOT NULL       -- JSON [[first series, how many, period in ms], ...], what runs set out to record
) STRICT;
CREATE TABLE run(
  id INTEGER PRIMARY KEY,
  log INTEGER NOT NULL,
  row INTEGER NOT NULL,
  started INTEGER NOT NULL,  -- milliseconds since 1970
  ended INTEGER NOT NULL,    -- the last sign of life
  recorded INTEGER NOT NULL
) STRICT;
CREATE INDEX run_row ON run(log, row);
CREATE TABLE outage(
  id INTEGER PRIMARY KEY,
  log INTEGER NOT NULL,
  row INTEGER NOT NULL,
  since INTEGER NOT NULL,
  until INTEGER NOT NULL,
  samples INTEGER NOT NULL,
  reason TEXT NOT NULL,
  UNIQUE(log, row)
) STRICT;
CREATE TABLE dropped(
  id INTEGER PRIMARY KEY,
  tier TEXT NOT NULL,
  file TEXT NOT NULL,
  since INTEGER NOT NULL,    -- what it covered
  until INTEGER NOT NULL,
  time INTEGER NOT NULL,
  reason TEXT NOT NULL,
  bytes INTEGER NOT NULL
) STRICT;
CREATE VIEW runs AS
SELECT ${time('started')}, ${time('ended')}, round((ended - started) / 3600000.0, 3) AS hours,
  (SELECT sum(each.value ->> 1) FROM recorded, json_each(recorded.ranges) AS each WHERE recorded.id = run.recorded) AS series
FROM run ORDER BY run.id;
CREATE VIEW recording AS
SELECT ${time('started')}, ${time('ended')}, device, point, unit, (each.value ->> 2) / 1000.0 AS seconds
FROM run JOIN recorded ON recorded.id = run.recorded, json_each(recorded.ranges) AS each
JOIN series ON series.id >= each.value ->> 0 AND series.id < (each.value ->> 0) + (each.value ->> 1)
ORDER BY run.id, series.id;
CREATE VIEW outages AS
SELECT ${time('since')}, ${time('until')}, samples, reason FROM outage ORDER BY outage.since;
CREATE VIEW drops AS
SELECT ${time('time')}, tier, file, ${time('since')}, ${time('until')}, reason, bytes FROM dropped ORDER BY dropped.id;
PRAGMA user_version = ${BOOK_VERSION};
`;
