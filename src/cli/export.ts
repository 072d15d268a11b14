import { extname } from 'node:path';
import type { Batch } from '../core/batch.ts';
import { SluiceError } from '../core/errors.ts';
import type { HistoryQuery } from '../core/history.ts';
import { silentLog } from '../core/log.ts';
import { visible } from '../core/visible.ts';
import { FORMATS, type Format, type Write } from '../export/encoder.ts';
import { exportSamples } from '../export/export.ts';
import { openReader } from '../store/history/reader.ts';
import { historyQuery } from './history-query.ts';
import { LeftOut, type Missing, tellMissing } from './left-out.ts';
import { loadConfig } from './load.ts';
import { HELP, JSON_TOO, oneFile, parsedOptions, usage } from './options.ts';
import { EXPORT, assertOutside, assertReplaceable } from './output-place.ts';
import { PartialFile } from './partial-file.ts';
import { Progress, count, counted, size } from './progress.ts';
import { untilInterrupted } from './until-interrupted.ts';

const TEXT = `Usage: ./sluice export --from TIME [--to TIME] [--points PATTERN] [--format csv|jsonl|parquet] [--out FILE [--force]] [--json] [gateway.yaml]

Writes every recorded sample of a time, beside a running gateway or of one that is stopped: UTC day by UTC day, point by
point, in order of time. The configuration only says where the data is.

  --from, --to TIME  2026-11-26, 2026-11-26T10:00Z, with an offset such as +01:00 (UTC where none is given), now, or 6h or
                     7d back from now. --to is exclusive, and now where it is left out
  --points PATTERN   device/point, with * for any letters; may be given again. Everything where it is left out
  --format FORMAT    csv where neither this nor the ending of --out says something else
                       csv      device,point,time,value,unit,quality,reason; RFC 4180, UTF-8, times in UTC. A text that a
                                spreadsheet would run as a formula, or that begins with an apostrophe, has one more
                                apostrophe in front
                       jsonl    the same names, one object a line; value is a number, true, false, a string or null
                       parquet  device, point, time (UTC, milliseconds), value (double; a boolean is 0 or 1), text (of
                                strings), type (number, boolean, text), unit, quality, reason; Zstandard
  --out FILE         to this file, which appears when it is complete; to standard output where it is left out
  --force            replaces a FILE that is there, where it is an export
  --json             one object about what was written: {"file", "format", "from", "to", "series", "samples", "bytes",
                     "seconds", "leftOut": [{"name", "why"}]}; on standard output with --out, otherwise on standard error

What cannot be read is left out and told, and the exit status is 1. A file of a newer Sluice is refused.

Exit status: 0 done, 1 failed, stopped, or something was left out, 64 wrong usage, 78 wrong configuration.
`;

export async function run(args: readonly string[]): Promise<number> {
  const { values, positionals } = parsedOptions('export', args, {
    ...HELP,
    ...JSON_TOO,
    from: { type: 'string' },
    to: { type: 'string', default: 'now' },
    points: { type: 'string', multiple: true, default: ['*/*'] },
    format: { type: 'string' },
    out: { type: 'string' },
    force: { type: 'boolean', default: false },
  });
  if (values.help) {
    process.stdout.write(TEXT);
    return 0;
  }
  const { from, to, points } = values;
  if (from === undefined) throw usage('export', '--from is missing: from when on, such as 2026-11-26 or 7d');
  const wanted: Wanted = {
    query: historyQuery('export', { from, to, points }),
    format: formatOf(values.format, values.out),
    out: values.out,
    json: values.json,
  };
  if (wanted.format === 'parquet' && wanted.out === undefined && process.stdout.isTTY)
    throw usage(
      'export',
      'Parquet is nothing for a terminal: name a file with --out, or send it on with > or |',
    );
  const config = await loadConfig(oneFile('export', positionals));
  if (wanted.out !== undefined) {
    assertOutside('export', wanted.out, config);
    assertReplaceable(wanted.out, values.force, EXPORT);
  }
  return written(config.gateway.data, wanted);
}

interface Wanted {
  readonly query: HistoryQuery;
  readonly format: Format;
  readonly out: string | undefined;
  readonly json: boolean;
}

/** Returns the exit status. */
async function written(folder: string, wanted: Wanted): Promise<number> {
  const leftOut = new LeftOut(folder);
  // No log: standard error belongs to the progress, and what is missing is told at the end.
  const reader = openReader({ folder, log: silentLog, onUnreadable: leftOut.take });
  using closing = new DisposableStack();
  closing.defer(() => reader.close());
  const missing = (): readonly Missing[] => leftOut.list(wanted.query, ['raw']);
  closing.defer(() => tellMissing(missing()));
  const samples = reader.samples(wanted.query);
  if (samples.names.length === 0)
    throw new SluiceError(
      'SETUP',
      `the history has no point like ${visible(wanted.query.points.join(' or '))}`,
      {
        remedy: './sluice history --names shows those it has',
      },
    );
  const figures = new Figures(wanted, samples.names.length, missing);
  const { out } = wanted;
  if (out === undefined) {
    // No handler for signals: nothing is left behind, and a reader that does not read must not hold up the end.
    await figures.watch(async (onBatch) =>
      exportSamples({ samples, format: wanted.format, write: figures.counted(standardOutput), onBatch }),
    );
  } else {
    await untilInterrupted('export', `nothing is left of ${out}`, async (signal) =>
      toFile(out, signal, samples, figures),
    );
  }
  return missing().length === 0 ? 0 : 1;
}

async function toFile(
  path: string,
  signal: AbortSignal,
  samples: ReturnType<ReturnType<typeof openReader>['samples']>,
  figures: Figures,
): Promise<void> {
  const file = await PartialFile.create(path);
  try {
    await figures.watch(async (onBatch) => {
      const write = figures.counted(file.write);
      const total = await exportSamples({ samples, format: figures.wanted.format, write, onBatch, signal });
      await file.finish();
      return total;
    });
  } catch (error) {
    await file.discard();
    throw error;
  }
}

const standardOutput: Write = async (bytes) =>
  new Promise((resolve) => {
    // Where it fails, the listener of main ends the process.
    process.stdout.write(bytes, (error) => (error ? undefined : resolve()));
  });

/** What a person watches, and what is told at the end. */
class Figures {
  readonly wanted: Wanted;
  readonly #series: number;
  readonly #missing: () => readonly Missing[];
  readonly #begun = performance.now();
  readonly #progress: Progress;
  #samples = 0;
  #bytes = 0;
  #share = 0;

  constructor(wanted: Wanted, series: number, missing: () => readonly Missing[]) {
    this.wanted = wanted;
    this.#series = series;
    this.#missing = missing;
    this.#progress = new Progress(
      () =>
        `${count(this.#samples)} samples  ${size(this.#bytes)}  ${Math.floor(this.#share * 100)} % of the time  ${count(this.#samples / this.#seconds())}/s`,
    );
  }

  counted(write: Write): Write {
    return async (bytes) => {
      await write(bytes);
      this.#bytes += bytes.length;
      this.#progress.show();
    };
  }

  async watch(work: (onBatch: (batch: Batch) => void) => Promise<number>): Promise<void> {
    try {
      await work((batch) => this.#take(batch));
    } catch (error) {
      this.#progress.end();
      throw error;
    }
    const { out, format, query, json } = this.wanted;
    const seconds = Math.round(this.#seconds() * 1_000) / 1_000;
    const leftOut = this.#missing();
    const lacking = leftOut.length === 0 ? '' : `; not everything of ${counted(leftOut.length, 'file')}`;
    this.#progress.end(
      `${counted(this.#samples, 'sample')} of ${counted(this.#series, 'point')}, ${size(this.#bytes)} in ${seconds.toFixed(1)} s${lacking}`,
    );
    if (!json) return;
    const summary = {
      ...(out === undefined ? {} : { file: out }),
      format,
      from: new Date(query.from).toISOString(),
      to: new Date(query.to).toISOString(),
      series: this.#series,
      samples: this.#samples,
      bytes: this.#bytes,
      seconds,
      leftOut,
    };
    (out === undefined ? process.stderr : process.stdout).write(`${JSON.stringify(summary)}\n`);
  }

  #take(batch: Batch): void {
    this.#samples += batch.count;
    this.#share = Math.max(this.#share, shareOf(batch, this.wanted.query, this.#series));
    this.#progress.show();
  }

  #seconds(): number {
    return (performance.now() - this.#begun) / 1_000;
  }
}

const DAY = 86_400_000;

/** Samples come day by day and, within a day, point by point: how much of the time that is. */
function shareOf(batch: Batch, { from, to }: HistoryQuery, series: number): number {
  const last = batch.count - 1;
  const day = Math.floor((batch.times[last] ?? from) / DAY) * DAY;
  const begin = Math.max(from, day);
  const end = Math.min(to, day + DAY);
  const within = ((batch.points[last] ?? 0) + 1) / series;
  return Math.min(1, Math.max(0, (begin - from + (end - begin) * within) / (to - from)));
}

function formatOf(named: string | undefined, out: string | undefined): Format {
  const ending = out === undefined ? '' : extname(out).slice(1);
  const format = FORMATS.find((known) => known === (named ?? ending));
  if (format !== undefined) return format;
  if (named === undefined) return 'csv';
  throw usage('export', `--format ${visible(named)} is none of ${FORMATS.join(', ')}`);
}
