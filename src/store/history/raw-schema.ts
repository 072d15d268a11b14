import { QUALITIES, REASONS } from '../../core/quality.ts';
import { type Database, damaged } from '../open.ts';

/** Raise it with every change that an older Sluice could not read. */
export const RAW_VERSION = 1;

const TABLES = ['series', 'chunk', 'filed', 'meta', 'unrolled', 'reason'];

const quality = QUALITIES.map((name, code) => `WHEN ${code} THEN '${name}'`).join(' ');

/** Of an element that is on its tick. */
const TICK = 'c.t0 + j.key * c.step';

// An element is `v`, or `[r, v]`, `[r, v, quality, reason]` or, where a tick has no sample, `[]`. Of the ways to say so
// the view takes the fastest: the type is a constant of json_each, a value is made anew each time it is named, and
// `datetime` of an integer takes half the time of `strftime`.
const SCHEMA = `
CREATE TABLE series(
  id INTEGER PRIMARY KEY,
  device TEXT NOT NULL,
  point TEXT NOT NULL,
  unit TEXT NOT NULL DEFAULT '',
  UNIQUE(device, point, unit)
) STRICT;
CREATE TABLE chunk(
  id INTEGER PRIMARY KEY,
  series INTEGER NOT NULL,
  t0 INTEGER NOT NULL,         -- of the first and the last sample, milliseconds since 1970
  t1 INTEGER NOT NULL,
  step INTEGER NOT NULL,       -- element k of the body belongs to t0 + k * step
  n INTEGER NOT NULL,          -- samples
  len INTEGER NOT NULL,        -- of the text in bytes; body is the plain text where it is as long, else zlib
  body BLOB NOT NULL
) STRICT;
CREATE INDEX chunk_key ON chunk(series, t0);
CREATE TABLE filed(            -- rows of a sample log that are in, as far as they belong here
  log INTEGER PRIMARY KEY,     -- identity of the log
  row INTEGER NOT NULL,        -- up to this one
  floor INTEGER NOT NULL       -- samples before this time went into the rollups only
) STRICT;
CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID; -- latest: time of a sample
CREATE TABLE unrolled(         -- what was written since the rollups of an hour were made
  id INTEGER PRIMARY KEY,
  hour INTEGER NOT NULL,
  series TEXT NOT NULL         -- JSON
) STRICT;
CREATE TABLE reason(code INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;
CREATE VIEW sample AS
SELECT s.device, s.point,
  iif(j.type = 'array',
    strftime('%Y-%m-%d %H:%M:%f', (${TICK} + (j.value ->> 0)) / 1000.0, 'unixepoch'),
    datetime((${TICK}) / 1000, 'unixepoch') || '.' || substr(1000 + (${TICK}) % 1000, 2)) AS time,
  coalesce(j.atom, j.value ->> 1) AS value,
  s.unit,
  iif(j.type = 'array', CASE j.value ->> 2 ${quality} ELSE 'good' END, 'good') AS quality,
  iif(j.type = 'array', (SELECT text FROM reason WHERE code = j.value ->> 3), NULL) AS reason
FROM series s JOIN chunk c ON c.series = s.id, json_each(sqlar_uncompress(c.body, c.len)) j
WHERE j.type <> 'array' OR j.value <> '[]';
PRAGMA user_version = ${RAW_VERSION};
`;

/** The tables of an empty file. */
export function makeRawTables(db: Database): void {
  db.transaction(() => {
    db.exec(SCHEMA);
    addReasons(db);
  }).immediate();
}

/** Reasons that were added to Sluice since the file was made. */
export function addReasons(db: Database): void {
  const known = db.prepare<[], number>('SELECT count(*) FROM reason').pluck().get() ?? 0;
  const insert = db.prepare<[number, string]>('INSERT OR IGNORE INTO reason VALUES (?, ?)');
  for (const [code, text] of REASONS.entries()) if (code >= known) insert.run(code, text);
}

/** Throws what `isDamage` holds for, where the file is not what it should be. Reads its first pages only. */
export function checkRawTables(db: Database): void {
  const version = db.pragma('user_version', { simple: true });
  const found = db.prepare<[], string>("SELECT name FROM sqlite_schema WHERE type = 'table'").pluck().all();
  if (version !== RAW_VERSION || !TABLES.every((table) => found.includes(table)))
    throw damaged(`${db.name} is no file of samples`);
}
