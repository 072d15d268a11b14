import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { missingPeer } from '../support/peer.ts';
import { REPOSITORY, SLUICE } from '../support/process.ts';
import { startGateway, startPlant } from '../support/running-site.ts';
import { makeSite, type Site } from '../support/site.ts';
import { until } from '../support/wait.ts';

interface Said {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

function history(...args: string[]): Said {
  const { status, stdout, stderr } = spawnSync(SLUICE, ['history', ...args], {
    encoding: 'utf8',
    cwd: tmpdir(),
  });
  return { status, out: stdout, err: stderr };
}

/** The same as another user, who has nothing to do with the launcher's set-up, nor with the environment of a test. */
function historyAs(uid: number, gid: number, ...args: string[]): Said {
  const command = [process.execPath, join(REPOSITORY, 'src/main.ts'), 'history', ...args];
  const { status, stdout, stderr } = spawnSync('env', ['-i', ...command], { encoding: 'utf8', uid, gid });
  return { status, out: stdout, err: stderr };
}

function shell(site: Site, sql: string): string {
  const file = join(site.folder, 'data/telemetry.db');
  return execFileSync('sqlite3', ['-readonly', file, sql], { encoding: 'utf8' }).trim();
}

async function siteOf(t: Test, more = ''): Promise<Site> {
  const site = await makeSite({ more });
  t.teardown(() => site.remove());
  return site;
}

interface Answer {
  readonly points: readonly {
    readonly device: string;
    readonly point: string;
    readonly unit?: string;
    readonly tier?: string;
    readonly share?: number;
    readonly gaps?: readonly {
      readonly from: number;
      readonly to: number;
      readonly reason: string;
      readonly detail: string;
    }[];
    readonly buckets?: readonly Record<string, number | null>[];
  }[];
}

function answerOf({ out }: Said): Answer {
  const answer: unknown = JSON.parse(out);
  if (typeof answer !== 'object' || answer === null || !('points' in answer)) throw new Error(out);
  return { points: Array.isArray(answer.points) ? answer.points : [] };
}

const NOBODY = 65_534;
const isRoot = process.getuid?.() === 0;

t.test(
  'a gateway that runs, loses its plant and stops',
  { skip: missingPeer('sqlite3', 'sqlite3') },
  async (t) => {
    const site = await siteOf(t);
    const plant = startPlant(t, site);
    const gateway = await startGateway(t, site);
    await until(
      'some samples of every device',
      () =>
        Number(shell(site, "SELECT count(*) FROM recent WHERE device = 'meter-1'")) > 40 &&
        Number(shell(site, "SELECT count(*) FROM recent WHERE device = 'press-1' AND quality = 'good'")) > 0,
    );

    await t.test('charts of a running one are what the stock shell finds in its log', async (t) => {
      const end = new Date().toISOString();
      await until(
        'everything before it is committed',
        () => shell(site, 'SELECT max(time) FROM recent') > end.replace('T', ' ').slice(0, -1),
      );
      const before = `time < '${end.replace('T', ' ').slice(0, -1)}'`;

      const names = history('--names', site.file);
      const charts = answerOf(
        history('--points', 'meter-*/power', '--to', end, '--width', '1', '--json', site.file),
      );

      t.equal(names.out.trim().split('\n').length, 13);
      t.match(names.out, /^meter-1\/power +W$/m);
      for (const { device, point, unit, buckets } of charts.points) {
        const sql = `SELECT count(*) FROM recent WHERE device = '${device}' AND point = '${point}' AND ${before}`;
        const count = (buckets ?? []).reduce((sum, bucket) => sum + Number(bucket['count']), 0);
        t.equal(unit, 'W');
        t.ok(
          count >= Number(shell(site, sql)),
          'nothing is missing; the bucket is a whole one, newer samples may be in it',
        );
      }
      t.equal(charts.points.length, 2);
    });

    await t.test(
      'who may not read the data is told so; a member of the group may, beside a running one',
      { skip: isRoot ? false : 'needs root to become somebody else' },
      async (t) => {
        chmodSync(site.folder, 0o755);
        chmodSync(site.file, 0o644);

        const stranger = historyAs(NOBODY, NOBODY, '--last', site.file);
        const member = historyAs(NOBODY, process.getgid?.() ?? 0, '--last', site.file);

        t.equal(stranger.status, 1);
        t.match(
          stranger.err,
          /^sluice: this user may not read the history in .* \(permission denied\); run the command as the user that the gateway runs as; .*\n$/,
        );
        t.match(member, { status: 0, out: /meter-1\/voltage .* good/, err: '' });
      },
    );

    await t.test('last samples and gaps of a plant that was switched off say why', async (t) => {
      const good = history('--last', '--points', 'press-1/breaker', '--points', 'meter-1/voltage', site.file);
      await plant.stop();
      await until('the silence is in the log', () =>
        shell(site, "SELECT reason FROM recent WHERE device = 'press-1' AND quality = 'bad'"),
      );
      const silent = await until('the silence is told', () => {
        const { points } = answerOf(
          history('--completeness', '--points', 'press-1/breaker', '--from', '1m', '--json', site.file),
        );
        return points[0]?.gaps?.find(({ reason }) => reason === 'device silent');
      });
      const bad = history('--last', '--points', 'press-1/breaker', site.file);

      t.match(good.out, /^meter-1\/voltage +2\d\d\.?\d* +V +good +20\d\d-\d\d-\d\d \d\d:\d\d:\d\d/m);
      t.match(good.out, /^press-1\/breaker +(true|false) +good/m);
      t.match(silent.detail, /timeout|connection lost/);
      t.match(bad.out, /^press-1\/breaker +- +bad: (timeout|connection lost)/m);
    });

    t.equal(await gateway.stop(), 0);

    await t.test(
      'of a stopped one a member of the group is told so, too',
      { skip: isRoot ? false : 'needs root to become somebody else' },
      async (t) => {
        const member = historyAs(NOBODY, process.getgid?.() ?? 0, '--last', site.file);
        t.equal(member.status, 1);
        t.match(member.err, /^sluice: this user may not read the history in .* \(.*\); .*\n$/);
      },
    );

    await t.test('a stopped one is told exactly', async (t) => {
      const all = answerOf(history('--points', 'meter-1/power', '--width', '5000', '--json', site.file))
        .points[0];
      const sql =
        "SELECT count(*), min(value), max(value) FROM recent WHERE device = 'meter-1' AND point = 'power'";
      const [count, min, max] = shell(site, sql).split('|').map(Number);
      const of = (column: string): number[] => (all?.buckets ?? []).flatMap((bucket) => bucket[column] ?? []);
      t.equal(
        of('count').reduce((sum, each) => sum + each, 0),
        count,
      );
      t.same([Math.min(...of('min')), Math.max(...of('max'))], [min, max]);
      t.equal(all?.tier, 'raw');
      const chart = history('--points', 'press-1/*', site.file);
      t.match(
        chart.out,
        /^press-1\/breaker, every \d+[ms]+ from (samples|minutes)\ntime \(UTC\) +min +mean/m,
      );
      t.match(chart.out, /press-1\/pressure in bar, every/);
      const gaps = history('--completeness', '--points', 'press-1/breaker', '--from', '2m', site.file);
      t.match(
        gaps.out,
        /^press-1\/breaker: \d+\.\d\d %\n {2}20.* gateway down\n(.*\n)* {2}20.* device silent +(timeout|connection)/m,
      );
    });
  },
);

t.test('wrong questions are explained in one line', async (t) => {
  const site = await siteOf(t);
  const wrong: readonly (readonly [args: readonly string[], says: RegExp])[] = [
    [
      ['--from', '6x'],
      /--from 6x is no time; write it as 2026-11-26T10:00Z, 2026-11-26, or as 6h or 7d back from now/,
    ],
    [['--from', '2026-02-30'], /is no time/],
    [['--from', '1h', '--to', '2h'], /--from 1h is not before --to 2h/],
    [['--points', 'meter-1'], /--points meter-1 is no pattern; write device\/point, with \* for any letters/],
    [['--width', '0'], /--width 0 is no whole number from 1 to 100000/],
    [['--last', '--names'], /--last and --names ask for different things: take one/],
  ];
  for (const [args, says] of wrong) {
    const { status, err } = history(...args, site.file);
    t.equal(status, 64, args.join(' '));
    t.match(err, says);
    t.equal(err.trim().split('\n').length, 1);
  }
  const nothing = history(site.file);
  t.equal(nothing.status, 1);
  t.match(
    nothing.err,
    /there is no history in .*\/data; check gateway.data; the folder is filled by the first run/,
  );

  mkdirSync(join(site.folder, 'data'));
  writeFileSync(
    join(site.folder, 'data/telemetry.db'),
    'this is no database, and long enough to look like one'.repeat(99),
  );
  const damaged = history('--points', 'meter-1/*', site.file);
  t.equal(damaged.status, 1);
  t.match(damaged.err, /^sluice: telemetry.db cannot be read, or not all of it/);
  t.match(damaged.err, /the history has no point like meter-1\/\*; \.\/sluice history --names shows/);
});
