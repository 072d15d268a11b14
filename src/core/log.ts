import { visible } from './visible.ts';

export type Facts = Readonly<Record<string, string | number | boolean | null | undefined>>;

/** Facts with fields, once, where the decision to go on is taken. Never per sample; never a secret. */
export interface Log {
  info(what: string, facts?: Facts): void;
  warn(what: string, facts?: Facts): void;
  error(what: string, facts?: Facts): void;
}

interface Lines {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

type Level = 'info' | 'warn' | 'error';

/**
 * Lines on standard error: for a person on a terminal, JSON (one object a line) elsewhere. Facts come from devices and
 * clients too: whatever they hold, a line stays one line, and a terminal has nothing to obey.
 */
export function streamLog(stream: Lines = process.stderr): Log {
  const write = (level: Level, what: string, facts: Facts = {}): void => {
    stream.write(stream.isTTY === true ? forPerson(level, what, facts) : forMachine(level, what, facts));
  };
  return {
    info: (what, facts) => write('info', what, facts),
    warn: (what, facts) => write('warn', what, facts),
    error: (what, facts) => write('error', what, facts),
  };
}

export const silentLog: Log = { info: () => {}, warn: () => {}, error: () => {} };

function forMachine(level: Level, what: string, facts: Facts): string {
  const head = { time: new Date().toISOString(), level, what };
  // Twice: first for the order, last so that no fact takes the place of what every line has.
  return `${visible(JSON.stringify({ ...head, ...facts, ...head }))}\n`;
}

function forPerson(level: Level, what: string, facts: Facts): string {
  const fields = Object.entries(facts)
    .filter(([, value]) => value !== undefined)
    .map(
      ([key, value]) =>
        ` ${key}=${typeof value === 'string' && /[\s=]/.test(value) ? JSON.stringify(value) : value}`,
    )
    .join('');
  const time = new Date().toISOString().slice(11, 19);
  return `${time} ${level === 'info' ? '' : `${level}: `}${visible(what + fields)}\n`;
}
