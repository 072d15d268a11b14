import type { Facts, Log } from '../../src/core/log.ts';

export interface Line {
  readonly level: 'info' | 'warn' | 'error';
  readonly what: string;
  readonly facts: Facts;
}

/** A log that a test can read. */
export class RecordingLog implements Log {
  readonly lines: Line[] = [];
  info = (what: string, facts: Facts = {}) => void this.lines.push({ level: 'info', what, facts });
  warn = (what: string, facts: Facts = {}) => void this.lines.push({ level: 'warn', what, facts });
  error = (what: string, facts: Facts = {}) => void this.lines.push({ level: 'error', what, facts });

  find(pattern: RegExp): Line | undefined {
    return this.lines.find(({ what, facts }) => pattern.test(`${what} ${JSON.stringify(facts)}`));
  }

  count(pattern: RegExp): number {
    return this.lines.filter(({ what, facts }) => pattern.test(`${what} ${JSON.stringify(facts)}`)).length;
  }
}
