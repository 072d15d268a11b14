import { BOOLEAN, type Batch, NUMBER, TEXT } from '../core/batch.ts';
import type { Encoder, Write } from './encoder.ts';

/** Text is handed on in pieces of about this many characters: large enough for one write, small enough to be young garbage. */
const PIECE = 131_072;

/** A format of one line per sample; `line` ends with its own end of line. */
export function lineEncoder(
  write: Write,
  head: string,
  line: (batch: Batch, row: number) => string,
): Encoder {
  let piece = '';
  const flush = async (): Promise<void> => {
    const bytes = Buffer.from(piece);
    piece = '';
    if (bytes.length > 0) await write(bytes);
  };
  return {
    begin: async () => {
      piece = head;
      await flush(); // a reader sees the columns at once, also of an export without samples
    },
    add: async (batch) => {
      for (let row = 0; row < batch.count; row++) {
        piece += line(batch, row);
        if (piece.length >= PIECE) await flush();
      }
    },
    end: flush,
  };
}

/** A value as it is written: numbers and booleans alike in every format, `text` and `nothing` as the format has them. */
export function valueWriter(text: (raw: string) => string, nothing: string) {
  return (batch: Batch, row: number): string => {
    const held = batch.values[row] ?? 0;
    switch (batch.forms[row]) {
      case NUMBER:
        return String(held);
      case BOOLEAN:
        return held === 0 ? 'false' : 'true';
      case TEXT:
        return text(batch.texts[held] ?? '');
      default:
        return nothing;
    }
  };
}
