import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import t from 'tap';
import type { Tier } from '../../src/core/history.ts';
import { bytes, days, epochMs, mebibytes } from '../../src/core/units.ts';
import {
  type Plan,
  type Situation,
  type StoredFile,
  diskOf,
  planRetention,
  reserveOf,
  usageOf,
} from '../../src/store/history/retention.ts';
import { sampleLogBytes } from '../../src/store/protocol.ts';

const TODAY = Date.UTC(2026, 10, 26);
const DAY = days(1);
const LARGE = { free: mebibytes(60_000), total: mebibytes(100_000) };

/** A file of the day that lies so many days before (or after) today. */
function day(tier: 'raw' | 'minute', daysAgo: number, megabytes: number, part = 1): StoredFile {
  const from = TODAY - daysAgo * DAY;
  const date = new Date(from).toISOString().slice(0, 10);
  const file = `${tier}/${date}${part === 1 ? '' : `.${part}`}.db`;
  return { tier, file, from: epochMs(from), to: epochMs(from + DAY), part, bytes: mebibytes(megabytes) };
}

function month(year: number, index: number, megabytes: number): StoredFile {
  const [from, to] = [Date.UTC(year, index), Date.UTC(year, index + 1)];
  const file = `hour/${new Date(from).toISOString().slice(0, 7)}.db`;
  return { tier: 'hour', file, from: epochMs(from), to: epochMs(to), part: 1, bytes: mebibytes(megabytes) };
}

interface Wanted {
  readonly files: readonly StoredFile[];
  readonly aside?: readonly { readonly file: string; readonly bytes: ReturnType<typeof bytes> }[];
  readonly outbox?: number;
  readonly other?: number;
  readonly quota?: number;
  readonly disk?: Situation['disk'];
  readonly limit?: number;
}

/** In megabytes: 1000 of quota, 250 of it for the outbox, 7, 90 and 1825 days. */
function situation(wanted: Wanted): Situation {
  const { files, aside = [], outbox = 1, other = 1, quota = 1_000, limit = 250, disk = LARGE } = wanted;
  return {
    usage: { files, aside, outbox: mebibytes(outbox), other: mebibytes(other) },
    disk,
    retention: { raw: days(7), minute: days(90), hour: days(1_825), disk: mebibytes(quota) },
    outbox: mebibytes(limit),
    believed: epochMs(TODAY + DAY / 2),
    horizon: epochMs(TODAY + DAY / 2),
    ran: days(3),
  };
}

const told = ({ drops }: Plan) => drops.map(({ file, reason }) => `${reason}: ${file}`);

t.test('a file goes by age when all of it is too old', (t) => {
  const plan = planRetention(
    situation({
      files: [
        ...[7, 8, 9].map((ago) => day('raw', ago, 10)),
        ...[90, 91].map((ago) => day('minute', ago, 1)),
        ...[month(2021, 9, 1), month(2021, 10, 1)],
      ],
    }),
  );

  t.same(told(plan), [
    'retention: raw/2026-11-17.db',
    'retention: raw/2026-11-18.db',
    'retention: minute/2026-08-27.db',
    'retention: hour/2021-10.db',
  ]);
  t.equal(plan.allow, mebibytes(250));
  const midnight = {
    ...situation({ files: [day('raw', 8, 10), day('raw', 7, 10)] }),
    believed: epochMs(TODAY),
  };
  t.same(told(planRetention(midnight)), ['retention: raw/2026-11-18.db'], 'to the millisecond');
  t.end();
});

t.test('over quota the oldest raw parts go, until there is some room again', (t) => {
  const files = [
    ...[
      day('raw', 0, 250),
      day('raw', 1, 250, 2),
      day('raw', 1, 250),
      day('raw', 2, 200, 2),
      day('raw', 2, 10),
    ],
    ...[day('minute', 60, 10), month(2026, 10, 30)],
  ];

  const plan = planRetention(situation({ files, outbox: 15 }));

  t.same(
    told(plan),
    ['quota: raw/2026-11-24.db', 'quota: raw/2026-11-24.2.db'],
    '16 too much, and 20 of margin',
  );
  t.same(told(planRetention(situation({ files, outbox: 15, quota: 1_020 }))), []);
  t.end();
});

t.test('then the oldest minutes, then the outbox; never the hours', (t) => {
  const files = [
    day('raw', 0, 5),
    day('minute', 1, 5),
    day('minute', 0, 5),
    month(2026, 10, 700),
    month(2026, 9, 100),
  ];

  const plan = planRetention(situation({ files, outbox: 240, other: 30 }));

  t.same(told(plan), [
    'quota: raw/2026-11-26.db',
    'quota: minute/2026-11-25.db',
    'quota: minute/2026-11-26.db',
  ]);
  t.equal(plan.allow, mebibytes(86), '980 without the hours, what is not ours and the sample log');
  const full = planRetention(situation({ files, outbox: 240, other: 500 }));
  t.equal(full.allow, mebibytes(1), 'events still go out');
  t.end();
});

t.test('before all of that: what was set aside, and what was written under a clock that ran ahead', (t) => {
  const aside = [
    { file: 'raw/2026-11-20.db.damaged-20261121T000000000Z', bytes: mebibytes(200) },
    { file: 'minute/2026-11-20.db.damaged-20261120T000000000Z', bytes: mebibytes(1) },
  ];
  const files = [
    day('raw', 6, 300),
    day('raw', 0, 300),
    day('raw', -1, 20),
    day('raw', -26_000, 150),
    day('minute', -26_000, 1),
  ];

  const plan = planRetention(situation({ files, aside, outbox: 250, other: 170 }));

  t.same(told(plan), [
    'quota: minute/2026-11-20.db.damaged-20261120T000000000Z',
    'quota: raw/2026-11-20.db.damaged-20261121T000000000Z',
    'quota: raw/2098-02-01.db',
    'quota: minute/2098-02-01.db',
    'quota: raw/2026-11-20.db',
  ]);
  t.same(
    plan.drops.map(({ future }) => future),
    [false, false, true, true, false],
    'a device may be a day ahead',
  );
  t.end();
});

t.test('a disk that is nearly full sheds early, whoever filled it', (t) => {
  const files = [day('raw', 2, 30), day('raw', 1, 30), day('raw', 0, 30), day('minute', 0, 10)];
  const total = mebibytes(10_000);
  const plan = (free: number) => planRetention(situation({ files, disk: { total, free: mebibytes(free) } }));

  t.equal(reserveOf({ total, free: total }), mebibytes(300));
  t.same(told(plan(300)), []);
  t.same(told(plan(299)), [
    'disk full: raw/2026-11-24.db',
    'disk full: raw/2026-11-25.db',
    'disk full: raw/2026-11-26.db',
  ]);
  t.equal(plan(299).allow, mebibytes(36), 'free, 100 of files and its own 1, without reserve and sample log');
  t.equal(plan(0).drops.length, 4);
  t.equal(plan(0).allow, mebibytes(1));
  t.end();
});

const reserve = (megabytes: number) =>
  reserveOf({ total: mebibytes(megabytes), free: bytes(0) }) / mebibytes(1);

t.test('what stays free is a log, what is filed at once and a commit; on a small disk an eighth', (t) => {
  t.same([16, 512, 2_000, 8_000, 64_000].map(reserve), [2, 64, 128, 240, 512]);
  t.end();
});

const tiers: fc.Arbitrary<Tier> = fc.constantFrom('raw', 'minute', 'hour');
const anyFile = fc
  .record({
    tier: tiers,
    ago: fc.integer({ min: -40, max: 120 }),
    part: fc.integer({ min: 1, max: 4 }),
    size: fc.nat(200),
  })
  .map(({ tier, ago, part, size }) => {
    if (tier === 'hour') return month(2026 - Math.floor(Math.abs(ago) / 12), Math.abs(ago) % 12, size);
    return day(tier, ago, size, tier === 'raw' ? part : 1);
  });
const anySituation = fc
  .record({
    files: fc.uniqueArray(anyFile, { selector: ({ file }) => file, maxLength: 40 }),
    aside: fc.array(fc.nat(100), { maxLength: 2 }),
    outbox: fc.nat(300),
    other: fc.nat(300),
    quota: fc.integer({ min: 300, max: 4_000 }),
    free: fc.integer({ min: 0, max: 2_000 }),
  })
  .map(({ free, aside, ...rest }) =>
    situation({
      ...rest,
      aside: aside.map((size, i) => ({ file: `raw/x.db.damaged-${i}`, bytes: mebibytes(size) })),
      disk: { free: mebibytes(free), total: mebibytes(10_000) },
    }),
  );

const sum = (all: readonly { readonly bytes: number }[]) =>
  all.reduce((total, each) => total + each.bytes, 0);

/** What is there after it was done. */
function after(before: Situation, { drops }: Plan): Situation {
  const gone = new Set(drops.map(({ file }) => file));
  const { files, aside, ...rest } = before.usage;
  const left = <T extends { readonly file: string }>(all: readonly T[]) =>
    all.filter(({ file }) => !gone.has(file));
  return {
    ...before,
    usage: { ...rest, files: left(files), aside: left(aside) },
    disk: { ...before.disk, free: bytes(before.disk.free + sum(drops)) },
  };
}

const usedOf = ({ usage: { files, aside, outbox, other } }: Situation) =>
  sum(files) + sum(aside) + outbox + other;
const isFuture = ({ from }: StoredFile) => from > TODAY + DAY * 1.5;

t.test('any set of files ends within quota and reserve, or with nothing left that may go', (t) => {
  fc.assert(
    fc.property(anySituation, (before) => {
      const plan = planRetention(before);
      const end = after(before, plan);
      const isEmpty = end.usage.aside.length === 0 && end.usage.files.every(({ tier }) => tier === 'hour');
      const fits = usedOf(end) <= before.retention.disk && end.disk.free >= reserveOf(before.disk);
      const known = new Set([...before.usage.files, ...before.usage.aside].map(({ file }) => file));
      return (
        (fits || isEmpty) &&
        plan.drops.every(({ file }) => known.delete(file)) &&
        plan.allow >= mebibytes(1) &&
        plan.allow <= before.outbox
      );
    }),
    { numRuns: 2_000 },
  );
  t.pass();
  t.end();
});

t.test(
  'nothing goes without need: hours by age only, and before the last file there was too little room',
  (t) => {
    fc.assert(
      fc.property(anySituation, (before) => {
        const { drops } = planRetention(before);
        const isTooOld = ({ stored }: (typeof drops)[number]) =>
          stored !== undefined && stored.to + before.retention[stored.tier] <= before.believed;
        if (drops.some((drop) => (drop.reason === 'retention') !== isTooOld(drop))) return false;
        if (drops.some(({ stored, reason }) => stored?.tier === 'hour' && reason !== 'retention'))
          return false;
        const last = drops.at(-1);
        if (last === undefined || last.reason === 'retention') return true;
        const almost = after(before, { drops: drops.slice(0, -1), next: [], allow: before.outbox });
        return (
          usedOf(almost) > before.retention.disk * 0.98 || almost.disk.free < reserveOf(before.disk) * 1.25
        );
      }),
      { numRuns: 2_000 },
    );
    t.pass();
    t.end();
  },
);

const isOlder = (a: StoredFile, b: StoredFile) => a.from < b.from || (a.from === b.from && a.part < b.part);

t.test('never a newer raw part before an older one, and no minutes while there is raw', (t) => {
  fc.assert(
    fc.property(anySituation, (before) => {
      const plan = planRetention(before);
      const left = after(before, plan).usage.files.filter((file) => !isFuture(file));
      const shed = plan.drops.flatMap(({ stored, reason, future }) =>
        stored !== undefined && reason !== 'retention' && !future ? [stored] : [],
      );
      const inOrder = shed.every((file, i) => {
        const later = [...shed.slice(i + 1), ...left];
        if (file.tier === 'minute' && later.some(({ tier }) => tier === 'raw')) return false;
        return later.every((other) => other.tier !== file.tier || isOlder(file, other));
      });
      const futureFirst =
        shed.length === 0 ||
        after(before, plan).usage.files.every((file) => file.tier === 'hour' || !isFuture(file));
      return inOrder && futureFirst && (shed.length === 0 || after(before, plan).usage.aside.length === 0);
    }),
    { numRuns: 2_000 },
  );
  t.pass();
  t.end();
});

t.test('having done it, it does nothing more, also when a little was written since', (t) => {
  fc.assert(
    fc.property(anySituation, (before) => {
      const end = after(before, planRetention(before));
      const again = planRetention(end);
      return again.drops.length === 0;
    }),
    { numRuns: 1_000 },
  );
  const files = Array.from({ length: 7 }, (_, ago) => day('raw', ago, 150));
  const full = situation({ files });
  const end = after(full, planRetention(full));
  const grown = { ...end, usage: { ...end.usage, other: mebibytes(20) } };

  t.equal(planRetention(full).drops.length, 1);
  t.same(planRetention(grown).drops, []);
  t.end();
});

t.test('an outbox and a sample log as large as they may be are within quota and reserve', (t) => {
  fc.assert(
    fc.property(anySituation, fc.integer({ min: 8, max: 3_992 }), (any, megabytes) => {
      const outbox = mebibytes(Math.min(megabytes, any.retention.disk / mebibytes(1) - 8));
      const before = { ...any, outbox };
      const end = after(before, planRetention(before));
      const allow = planRetention(before).allow;
      const isEmpty = end.usage.aside.length === 0 && end.usage.files.every(({ tier }) => tier === 'hour');
      if (!isEmpty || allow === mebibytes(1)) return true; // files go before the outbox; or there is nothing left to take
      const full = allow + sampleLogBytes(outbox);
      const free = end.disk.free - (full - end.usage.outbox);
      return usedOf(end) - end.usage.outbox + full <= end.retention.disk && free >= reserveOf(end.disk);
    }),
    { numRuns: 5_000 },
  );
  const filled = situation({ files: [], outbox: 192 + 32, other: 5, quota: 200, limit: 192 });
  t.equal(planRetention(filled).allow, mebibytes(127), '196 without 5 of others and 64 of the sample log');
  t.end();
});

t.test('what the outbox may take does not depend on what it takes, nor on files that would go first', (t) => {
  fc.assert(
    fc.property(anySituation, fc.integer({ min: 0, max: 100 }), (before, grown) => {
      const { usage, disk } = before;
      const more = mebibytes(Math.min(grown, disk.free / mebibytes(1)));
      const now = {
        ...before,
        usage: { ...usage, outbox: bytes(usage.outbox + more) },
        disk: { ...disk, free: bytes(disk.free - more) },
      };
      return planRetention(before).allow === planRetention(now).allow;
    }),
    { numRuns: 1_000 },
  );
  t.pass();
  t.end();
});

function folder(t: { teardown(after: () => void): void }): string {
  const path = mkdtempSync(join(tmpdir(), 'retention-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

function write(root: string, name: string, size: number): void {
  const path = join(root, name);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, '');
  truncateSync(path, size);
}

t.test('everything below the data folder is counted, as find counts it', (t) => {
  const root = folder(t);
  const sizes = {
    'telemetry.db': 1_000,
    'telemetry.db-wal': 200,
    'telemetry.spare': 30,
    'telemetry.db.damaged-20261126T000000000Z': 7_000,
    'history.db': 11,
    'raw/2026-11-26.db': 50_000,
    'raw/2026-11-26.db-wal': 600,
    'raw/2026-11-26.db-shm': 50,
    'raw/2026-11-26.2.db': 40_000,
    'raw/2026-11-25.db-wal': 13,
    'raw/2026-11-24.db.damaged-20261126T000000000Z': 900,
    'raw/2026-11-24.db.damaged-20261126T000000000Z-wal': 90,
    'raw/note.txt': 17,
    'minute/2026-11-26.db': 5_000,
    'hour/2026-11.db': 400,
    'identity/ca/deep/key.pem': 19,
    'raw.db': 23,
  };
  for (const [name, size] of Object.entries(sizes)) write(root, name, size);
  symlinkSync('/usr', join(root, 'link'));

  const usage = usageOf(root);

  const { files, aside, outbox, other } = usage;
  t.same(
    new Set(files.map(({ file, bytes: size, part }) => `${file} ${size} ${part}`)),
    new Set([
      'hour/2026-11.db 400 1',
      'minute/2026-11-26.db 5000 1',
      'raw/2026-11-26.2.db 40000 2',
      'raw/2026-11-26.db 50650 1',
    ]),
  );
  t.match(
    files.find(({ part }) => part === 2),
    { tier: 'raw', from: TODAY, to: TODAY + DAY },
  );
  t.same(aside, [{ file: 'raw/2026-11-24.db.damaged-20261126T000000000Z', bytes: 990 }]);
  t.equal(outbox, 1_230);
  const found = execFileSync('find', [root, '!', '-type', 'd', '-printf', '%s\n'], { encoding: 'utf8' });
  const total = found
    .trim()
    .split('\n')
    .map(Number)
    .reduce((all, size) => all + size, 0);
  t.equal(sum(files) + sum(aside) + outbox + other, total);
  t.end();
});

t.test('a folder that is missing is empty', (t) => {
  t.same(usageOf(join(folder(t), 'missing')), { files: [], aside: [], outbox: 0, other: 0 });
  t.end();
});

t.test('the disk is as df says', (t) => {
  const root = folder(t);

  const { free, total } = diskOf(root);

  const [, line = ''] = execFileSync('df', ['--block-size=1', '--output=size,avail', root], {
    encoding: 'utf8',
  }).split('\n');
  const [size = 0, available = 0] = line.trim().split(/\s+/).map(Number);
  t.equal(total, size);
  t.ok(Math.abs(free - available) < mebibytes(512), 'others write meanwhile');
  t.end();
});
