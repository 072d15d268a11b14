import { mkdirSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { until } from '../support/wait.ts';
import type { Child } from './child.ts';
import type { Spread } from './histogram.ts';
import { peakMemory, spent, usage } from './measure.ts';

/** One line of the table. */
export interface Row {
  /** The gateway, or the name of the baseline. */
  readonly who: string;
  /** Values per second that the load had; left out where it was as much as would go. */
  readonly offered?: number;
  /** Values per second that were counted at the far end. */
  readonly arrived: number;
  /** Length of the window in which CPU and values were counted. */
  readonly seconds: number;
  /** User and system time of the process in the window, in seconds. */
  readonly cpu: number;
  /** The most memory that the process ever held, in bytes. */
  readonly memory: number;
  /** Milliseconds; `Result.spreadOf` says of what. */
  readonly spread?: Spread;
  readonly ratio?: string;
}

/** Figures that fit into no column of the rows. */
export interface Sheet {
  readonly head: readonly string[];
  /** The first cell is a name. */
  readonly lines: readonly (readonly string[])[];
}

export interface Result {
  readonly scenario: string;
  readonly load: string;
  readonly spreadOf: string;
  readonly rows: readonly Row[];
  readonly sheet?: Sheet;
  /** Facts beside the columns; targets and how they were met. */
  readonly notes: readonly string[];
  /** What must not be: lost, wrong or bad values. A result with faults makes the bench fail. */
  readonly faults: readonly string[];
}

export interface Scenario {
  readonly name: string;
  readonly about: string;
  run(bench: Bench): Promise<Result>;
}

const TMPFS = 0x01021994; // statfs(2)

/** What a scenario runs in. */
export class Bench {
  /** Length of a measured window. */
  readonly seconds: number;
  /** The whole backlog of ten minutes. */
  readonly full: boolean;
  readonly profile: string | undefined;
  readonly #dir: string;
  readonly #signal: AbortSignal;

  constructor(options: {
    readonly dir: string;
    readonly seconds: number;
    readonly full: boolean;
    readonly profile: string | undefined;
    readonly signal: AbortSignal;
  }) {
    this.#dir = options.dir;
    this.seconds = options.seconds;
    this.full = options.full;
    this.profile = options.profile;
    this.#signal = options.signal;
  }

  /** A directory of its own for a scenario, removed with everything else at the end. */
  directory(name: string): string {
    const dir = join(this.#dir, name);
    mkdirSync(dir);
    return dir;
  }

  /** Do the gateway's files lie in memory, where nothing is ever written to a disk? */
  get diskless(): boolean {
    return statfsSync(this.#dir).type === TMPFS;
  }

  async pause(seconds: number): Promise<void> {
    await wait(seconds * 1_000, undefined, { signal: this.#signal });
  }

  async until(what: string, probe: () => boolean | Promise<boolean>, seconds = 60): Promise<void> {
    await until(
      what,
      () => {
        this.#signal.throwIfAborted();
        return probe();
      },
      seconds * 1_000,
    );
  }

  /** What the process spends while `during` runs. */
  async measure(child: Child, during: () => Promise<void>): Promise<Measured> {
    const [began, before] = [Date.now(), usage(child.pid)];
    await during();
    child.mustRun();
    const [ended, after] = [Date.now(), usage(child.pid)];
    return { ...spent(before, after), memory: peakMemory(child.pid), window: { from: began, to: ended } };
  }
}

export interface Measured {
  readonly seconds: number;
  readonly cpu: number;
  /** Bytes sent to the disk. */
  readonly written: number;
  /** Peak, in bytes. */
  readonly memory: number;
  /** Milliseconds since 1970. */
  readonly window: { readonly from: number; readonly to: number };
}

/** `0.42 × the CPU per value of <who>`. */
export function cpuRatio(row: Row, baseline: Row): string {
  const ratio =
    row.cpu / (row.arrived * row.seconds) / (baseline.cpu / (baseline.arrived * baseline.seconds));
  return `${ratio.toFixed(2)} × CPU per value of ${baseline.who}`;
}

/** A bar and whether it was met. The bench reports it and never fails by it: machines differ. */
export function target(what: string, met: boolean): string {
  return `${met ? 'met' : 'MISSED'}: ${what}`;
}
