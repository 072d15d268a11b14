import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { silentLog } from '../../src/core/log.ts';
import { days, epochMs, mebibytes, milliseconds, minutes } from '../../src/core/units.ts';
import { openBook } from '../../src/store/history/book.ts';
import { Ledger } from '../../src/store/history/ledger.ts';

const RETENTION = { raw: days(7), minute: days(90), hour: days(1_800), disk: mebibytes(2_000) };
const BOOTED = epochMs(Date.UTC(2020, 0, 1));
const SYNCHRONISED = epochMs(Date.UTC(2026, 10, 26));

t.test('runs that are older than everything that is kept are forgotten', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'ledger-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'history.db');
  const open = () => openBook({ file, log: silentLog, floor: () => undefined });
  const ledger = new Ledger(
    { file, folder, retention: RETENTION, newest: () => undefined, open },
    SYNCHRONISED,
    milliseconds(0),
  );
  const started = [6 * 365, 100, 1].map((ago) => epochMs(SYNCHRONISED - days(ago)));
  for (const [row, time] of started.entries()) ledger.book.beginRun({ log: 1, row }, time, []);

  ledger.look(SYNCHRONISED, milliseconds(10_000));
  const left = ledger.book.runs(epochMs(0), SYNCHRONISED).map((run) => run.started);
  ledger.close();

  t.same(left, started.slice(1));
  t.end();
});

t.test('a clock that is not believed yet is looked at for hours, and written down', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'ledger-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'history.db');
  const ledgerAt = (wall: number, elapsed: number): Ledger =>
    new Ledger(
      {
        ...{ file, folder, retention: RETENTION, newest: () => undefined },
        open: () => openBook({ file, log: silentLog, floor: () => undefined }),
      },
      epochMs(wall),
      milliseconds(elapsed),
    );
  const ledger = ledgerAt(BOOTED, 0);

  // The clock that never steps has fractions of a millisecond.
  let elapsed = 1_000.123456;
  for (; elapsed < minutes(60); elapsed += 10_000.031)
    ledger.look(epochMs(SYNCHRONISED + Math.round(elapsed)), milliseconds(elapsed));
  t.ok(
    Math.abs(ledger.believed - (BOOTED + elapsed)) < 20_000,
    'an hour after the start, as the old clock had it',
  );
  ledger.close();

  const again = ledgerAt(SYNCHRONISED + Math.round(elapsed), 0);
  t.ok(again.believed - (BOOTED + minutes(40)) > 0, 'a restart knows it');
  t.ok(again.believed < BOOTED + minutes(90));
  again.close();
  t.end();
});
