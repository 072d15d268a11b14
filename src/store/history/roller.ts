import type { Clock } from '../../core/clock.ts';
import { errorText } from '../../core/errors.ts';
import type { Log } from '../../core/log.ts';
import { days, hours } from '../../core/units.ts';
import { fileAt, fileOf, filesIn } from './files.ts';
import type { Stage } from './filing.ts';
import type { Ledger } from './ledger.ts';
import { Pace } from './pace.ts';
import { rebuildHours, rebuildMinutes } from './rebuilding.ts';
import { type RollingOptions, rollUpHour } from './rolling.ts';
import type { Shelf, TouchedHour } from './shelf.ts';
import type { Thresholds } from './thresholds.ts';

const HOUR = hours(1);
const DAY = days(1);
/** An hour is rolled up in a third of the time that there is; filing and questions come first. */
const SHARE = 1 / 3;

export interface RollerOptions {
  /** `gateway.data`. */
  readonly folder: string;
  readonly thresholds: Thresholds;
  readonly shelf: Shelf;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly reached: (stage: Stage) => void;
  readonly onDamagedRow: (path: string) => void;
  /** Something else may be done; false: leave the rest of the hour for later. */
  readonly between: () => Promise<boolean>;
}

/** Keeps the rollups as they follow from the raw samples. */
export class Roller {
  readonly #options: RollerOptions;
  #brokenChunks = 0;

  constructor(options: RollerOptions) {
    this.#options = options;
  }

  /** An hour that is over and was touched; undefined where there is none. */
  get due(): TouchedHour | undefined {
    return this.#options.shelf.unrolled().find((touched) => this.#isOver(touched));
  }

  async roll(hour: TouchedHour): Promise<void> {
    await rollUpHour(hour, this.#rolling(SHARE, this.#options.between));
  }

  /** Without waiting for the end of the hour, and without leaving time to others. Each hour needs room for itself only. */
  async rollNow(wanted: (hour: TouchedHour) => boolean): Promise<void> {
    const { shelf } = this.#options;
    for (const hour of shelf.unrolled().filter(wanted)) {
      await rollUpHour(
        hour,
        this.#rolling(1, async () => Promise.resolve(true)),
      );
      shelf.copyBack();
    }
  }

  /** Which files of rollups were found lost before the start? */
  recall(): void {
    const { folder, shelf, ledger } = this.#options;
    const minutes = shelf.days().map((day) => fileAt(folder, 'minute', day).path);
    const months = filesIn(folder, 'minute').map(({ from }) => fileAt(folder, 'hour', from).path);
    ledger.recall(new Set([...minutes, ...months].map((path) => shelf.nameOf(path))));
  }

  /** Makes a file of rollups again that was lost. False where none was, or where it was left half done. */
  async rebuildOne(): Promise<boolean> {
    const { shelf, ledger } = this.#options;
    const [file] = ledger.lost;
    if (file === undefined) return false;
    const at = fileOf(shelf.pathOf(file));
    const options = this.#rolling(SHARE, this.#options.between);
    const done =
      at === undefined ||
      (at.tier === 'minute' ? await rebuildMinutes(at, options) : await rebuildHours(at, options));
    if (done) ledger.setLost(file, false);
    return done;
  }

  /** An hour that still goes on would have to be computed again. One of a wrong clock is not waited for. */
  #isOver({ hour }: TouchedHour): boolean {
    const now = this.#options.clock.now();
    return now >= hour + HOUR + this.#options.thresholds.grace || hour > now + DAY;
  }

  #rolling(share: number, between: () => Promise<boolean>): RollingOptions {
    const { folder, shelf, ledger, signal, reached, onDamagedRow } = this.#options;
    return {
      ...{ folder, shelf, reached, between, onDamagedRow },
      floors: ledger.floors(),
      pace: new Pace(share, signal),
      onBroken: (path, error) => this.#sayBroken(path, error),
    };
  }

  #sayBroken(path: string, error: unknown): void {
    this.#brokenChunks++;
    if (this.#brokenChunks > 1) return;
    const { log, shelf } = this.#options;
    const facts = { file: shelf.nameOf(path), error: errorText(error) };
    log.error('samples of the history cannot be read; rollups are made without them', facts);
  }
}
