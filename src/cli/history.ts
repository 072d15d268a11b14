import type { HistoryQuery } from '../core/history.ts';
import { SluiceError } from '../core/errors.ts';
import { silentLog } from '../core/log.ts';
import { visible } from '../core/visible.ts';
import { isHeld } from '../sole-instance.ts';
import { type Reader, openReader } from '../store/history/reader.ts';
import { MAX_WIDTH } from '../telemetry/chart-plan.ts';
import * as json from './history-json.ts';
import { historyQuery } from './history-query.ts';
import * as text from './history-text.ts';
import { LeftOut, type Missing, tellMissing } from './left-out.ts';
import { loadConfig } from './load.ts';
import { HELP, JSON_TOO, oneFile, parsedOptions, usage } from './options.ts';

const TEXT = `Usage: ./sluice history [--points PATTERN]... [--from TIME] [--to TIME] [--width N] [--last | --completeness | --names] [--json] [gateway.yaml]

Shows what the gateway remembers of its points, beside a running gateway or of one that is stopped; nothing is written.
The configuration only says where the data is. Times are UTC.

  --points PATTERN   device/point, with * for any letters; may be given again. Everything where it is left out
  --from, --to TIME  2026-11-26, 2026-11-26T10:00Z, with an offset such as +01:00 (UTC where none is given), now, or 6h or
                     7d back from now. The last hour where they are left out; --to is exclusive
  --width N          at most so many lines for a point (20): its samples, minutes or hours are put together
  --last             the newest sample of each point
  --completeness     the share of the time that good samples stand for, and every gap with its reason
  --names            the points that there is something of
  --json             one object; times in milliseconds since 1970. "leftOut" names files that could not be read

What cannot be read is left out and told, and the exit status is 1. A file of a newer Sluice is refused.

Exit status: 0 done, 1 failed, or something was left out, 64 wrong usage, 78 wrong configuration.
`;

type Question = 'chart' | 'last' | 'completeness' | 'names';

export async function run(args: readonly string[]): Promise<number> {
  const { values, positionals } = parsedOptions('history', args, {
    ...HELP,
    ...JSON_TOO,
    points: { type: 'string', multiple: true, default: ['*/*'] },
    from: { type: 'string', default: '1h' },
    to: { type: 'string', default: 'now' },
    width: { type: 'string', default: '20' },
    last: { type: 'boolean', default: false },
    completeness: { type: 'boolean', default: false },
    names: { type: 'boolean', default: false },
  });
  if (values.help) {
    process.stdout.write(TEXT);
    return 0;
  }
  const query = historyQuery('history', values);
  const width = widthOf(values.width);
  const question = questionOf(values);
  const config = await loadConfig(oneFile('history', positionals));
  using closing = new DisposableStack();
  const folder = config.gateway.data;
  const leftOut = new LeftOut(folder);
  const reader = openReader({
    folder,
    log: silentLog, // what it would say is told at the end
    onUnreadable: leftOut.take,
    isRunning: () => isHeld(folder),
  });
  closing.defer(() => reader.close());
  const isOfTime = question === 'chart' || question === 'completeness';
  const missing = (): readonly Missing[] => leftOut.list(isOfTime ? query : undefined);
  closing.defer(() => tellMissing(missing()));
  if (reader.names(query.points).length === 0 && question !== 'names')
    throw new SluiceError('SETUP', `the history has no point like ${visible(query.points.join(' or '))}`, {
      remedy: './sluice history --names shows those it has',
    });
  const to = values.json ? json : text;
  for (const part of answer(reader, question, { ...query, width }, { to, missing }))
    process.stdout.write(part);
  return missing().length === 0 ? 0 : 1;
}

function* answer(
  reader: Reader,
  question: Question,
  query: HistoryQuery & { readonly width: number },
  { to, missing }: { readonly to: typeof json | typeof text; readonly missing: () => readonly Missing[] },
): Generator<string> {
  switch (question) {
    case 'names':
      yield to.names(reader.names(query.points), missing);
      return;
    case 'last':
      yield to.last(reader.last(query.points), missing);
      return;
    case 'completeness':
      yield* to.completeness(query, reader.gaps(query), missing);
      return;
    case 'chart':
      yield* to.charts(query, reader.traces(query), missing);
      return;
    default:
      question satisfies never;
  }
}

function questionOf(values: Readonly<Record<Exclude<Question, 'chart'>, boolean>>): Question {
  const asked = (['last', 'completeness', 'names'] as const).filter((one) => values[one]);
  if (asked.length > 1)
    throw usage('history', `--${asked.join(' and --')} ask for different things: take one`);
  return asked[0] ?? 'chart';
}

function widthOf(given: string): number {
  const width = /^\d{1,6}$/.test(given) ? Number(given) : 0;
  if (width >= 1 && width <= MAX_WIDTH) return width;
  throw usage('history', `--width ${visible(given)} is no whole number from 1 to ${MAX_WIDTH}`);
}
