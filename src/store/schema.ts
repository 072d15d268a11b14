import { randomInt } from 'node:crypto';
import { SluiceError } from '../core/errors.ts';
import type { Database } from './open.ts';

/** Raise it with every change that an older Sluice could not read. */
export const SCHEMA_VERSION = 3;

/** A sample log is known by a number that no other has: files of the history remember how far they have read which. */
const MAX_LOG = 2 ** 48 - 1;

export const TELEMETRY = 0;
export const EVENT = 1;
export const GAP = 2;

// AUTOINCREMENT: after a full drain a plain key would start again at 1, below the cursors and the marks of the history.
// CROSS JOIN and LIMIT keep SQLite from reading each run again for every element or series: fifty times as long.
const SAMPLE_LOG = `
CREATE TABLE series(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  device TEXT NOT NULL,
  point TEXT NOT NULL,
  unit TEXT NOT NULL DEFAULT '',
  UNIQUE(device, point, unit)
) STRICT;
CREATE TABLE reason(code INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;
CREATE TABLE sample_log(
  id INTEGER PRIMARY KEY,      -- grows for ever: the newest row stays, emptied, when all are filed
  kind INTEGER NOT NULL,       -- 0 samples, 1 outage, 2 start of the gateway
  time INTEGER NOT NULL,       -- of the commit, milliseconds since 1970
  samples INTEGER NOT NULL,
  len INTEGER NOT NULL,        -- of the text in bytes; body is the plain text where it is as long, else zlib
  body BLOB NOT NULL           -- JSON; kind 0: [[ms after time, first series, [value or [value,quality,reason],...]],...]
) STRICT;
CREATE VIEW recent AS
SELECT s.device, s.point,
  strftime('%Y-%m-%d %H:%M:%f', r.time / 1000.0, 'unixepoch') AS time,
  CASE e.type WHEN 'array' THEN e.value->>0 ELSE e.value END AS value, s.unit,
  CASE WHEN e.type <> 'array' THEN 'good' WHEN e.value->>1 = 2 THEN 'bad' ELSE 'uncertain' END AS quality,
  CASE e.type WHEN 'array' THEN (SELECT text FROM reason WHERE code = e.value->>2) END AS reason
FROM (
  SELECT l.time + (run.value->>0) AS time, run.value->>1 AS first, run.value->'$[2]' AS elements
  FROM sample_log l CROSS JOIN json_each(CAST(sqlar_uncompress(l.body, l.len) AS TEXT)) run
  WHERE l.kind = 0 LIMIT -1
) r CROSS JOIN json_each(r.elements) e CROSS JOIN series s ON s.id = r.first + e.key;
INSERT INTO meta(key, value) VALUES('log', $log);
`;

const SCHEMA = `
CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE journal(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  kind INTEGER NOT NULL,       -- 0 telemetry, 1 event, 2 gap
  time INTEGER NOT NULL,       -- of the commit, milliseconds since 1970
  first_seq INTEGER NOT NULL,  -- of its messages; last_seq < first_seq where they have none
  last_seq INTEGER NOT NULL,
  messages INTEGER NOT NULL,
  samples INTEGER NOT NULL,
  len INTEGER NOT NULL,        -- of the text in bytes; body is the plain text where it is as long, else zlib
  body BLOB NOT NULL           -- lines "<topic> <payload>"
) STRICT;
CREATE INDEX journal_event ON journal(id) WHERE kind <> 0;
CREATE TABLE consumer(
  name TEXT PRIMARY KEY,
  ranges TEXT NOT NULL,        -- JSON [[after,upto],...]: telemetry still to be delivered as history
  events TEXT NOT NULL,        -- the same of events and gaps, which are delivered before anything live
  live INTEGER NOT NULL,       -- journal row up to which live delivery was acknowledged
  note TEXT NOT NULL,
  since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE VIEW outbox AS
SELECT id, strftime('%Y-%m-%d %H:%M:%f', time / 1000.0, 'unixepoch') AS time,
  CASE kind WHEN 0 THEN 'telemetry' WHEN 1 THEN 'event' ELSE 'gap' END AS kind,
  CASE WHEN last_seq >= first_seq THEN first_seq END AS first_seq,
  CASE WHEN last_seq >= first_seq THEN last_seq END AS last_seq,
  messages, samples, length(body) AS bytes,
  CAST(sqlar_uncompress(body, len) AS TEXT) AS text
FROM journal;
`;

/** From 1: events wait apart from telemetry. What waited as history waits as both. */
const FROM_VERSION_1 = `
CREATE INDEX journal_event ON journal(id) WHERE kind <> 0;
ALTER TABLE consumer ADD COLUMN events TEXT NOT NULL DEFAULT '[]';
UPDATE consumer SET events = ranges;
`;

/** What brings a file of each version to the present one, in order. */
const STEPS: Readonly<Record<number, readonly string[]>> = {
  0: [SCHEMA, SAMPLE_LOG],
  1: [FROM_VERSION_1, SAMPLE_LOG],
  2: [SAMPLE_LOG],
};

/** Makes the tables of an empty file, brings those of an older Sluice up to date; refuses a file of a newer Sluice or of another program. */
export function prepareSchema(db: Database): void {
  const version = Number(db.pragma('user_version', { simple: true }));
  if (version === SCHEMA_VERSION) return;
  if (version > SCHEMA_VERSION)
    throw new SluiceError(
      'STORE_FAILED',
      `${db.name} was written by a newer Sluice (its schema is ${version}, this one reads ${SCHEMA_VERSION})`,
      {
        remedy:
          'install that version again, or move the file away together with what it still has to deliver',
      },
    );
  const tables = db.prepare<[], number>('SELECT count(*) FROM sqlite_schema').pluck().get() ?? 0;
  const steps = STEPS[version];
  if (steps === undefined || (version === 0 && tables > 0))
    throw new SluiceError('STORE_FAILED', `${db.name} is a database of another program`, {
      remedy: 'name another directory as gateway.data, or move the file away',
    });
  const log = `${randomInt(1, MAX_LOG)}`;
  db.transaction(() => {
    for (const step of steps) db.exec(step.replace('$log', log));
    db.pragma(`user_version = ${SCHEMA_VERSION}`);
  }).immediate();
}
