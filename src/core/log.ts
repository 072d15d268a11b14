export type Facts = Readonly<Record<string, string | number | boolean | null | undefined>>;

/** Facts with fields, once, where the decision to go on is taken. Never per sample; never a secret. */
export interface Log {
  info(what: string, facts?: Facts): void;
  warn(what: string, facts?: Facts): void;
  error(what: string, facts?: Facts): void;
}

type Level = 'info' | 'warn' | 'error';

/** Lines on standard error: for a person on a terminal, JSON (one object a line) elsewhere. */
export function streamLog(stream: NodeJS.WriteStream = process.stderr): Log {
  const write = (level: Level, what: string, facts: Facts = {}): void => {
    stream.write(stream.isTTY ? forPerson(level, what, facts) : forMachine(level, what, facts));
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
  return `${JSON.stringify({ ...head, ...facts, ...head })}\n`;
}

function forPerson(level: Level, what: string, facts: Facts): string {
  const fields = Object.entries(facts)
    .filter(([, value]) => value !== undefined)
    .map(
      ([key, value]) =>
        ` ${key}=${typeof value === 'string' && /[\s=]/.test(value) ? JSON.stringify(value) : value}`,
    )
    .join('');
  return `${new Date().toISOString().slice(11, 19)} ${level === 'info' ? '' : `${level}: `}${what}${fields}\n`;
}
