/** Between two looks of a person. */
const EVERY_MS = 200;
/** Where a terminal does not say. */
const DEFAULT_COLUMNS = 80;
const ERASE_LINE = '\r\u001B[K';

/** One line on a terminal that is rewritten while a command works; nothing where nobody looks. */
export class Progress {
  readonly #stream: NodeJS.WriteStream;
  readonly #text: () => string;
  #shown = Number.NEGATIVE_INFINITY;

  constructor(text: () => string, stream: NodeJS.WriteStream = process.stderr) {
    this.#text = text;
    this.#stream = stream;
  }

  /** Call as often as you like. */
  show(): void {
    if (!this.#stream.isTTY) return;
    const now = performance.now();
    if (now - this.#shown < EVERY_MS) return;
    this.#shown = now;
    this.#stream.write(
      `${ERASE_LINE}${this.#text().slice(0, (this.#stream.columns || DEFAULT_COLUMNS) - 1)}`,
    );
  }

  /** Leaves `last` in place of the line. */
  end(last = ''): void {
    if (this.#stream.isTTY) this.#stream.write(`${ERASE_LINE}${last === '' ? '' : `${last}\n`}`);
  }
}

const COUNT = new Intl.NumberFormat('en');

/** `1,234,567`. */
export function count(number: number): string {
  return COUNT.format(Math.round(number));
}

/** `1 database`, `1,234 databases`. */
export function counted(number: number, noun: string): string {
  return `${count(number)} ${noun}${number === 1 ? '' : 's'}`;
}

const SIZES = ['B', 'kB', 'MB', 'GB', 'TB'] as const;

/** `45.2 MB`, in powers of 1000. */
export function size(bytes: number): string {
  const power = Math.min(SIZES.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  return `${power === 0 ? bytes : (bytes / 1_000 ** power).toFixed(1)} ${SIZES[power] ?? ''}`;
}
