import type { Duration } from '../../core/units.ts';
import { type FrameSink, mbapFrame, MbapFramer } from './framing.ts';

/** How requests and replies lie in the byte stream, and which replies can be told apart in it. */
export interface Wire {
  /** Bytes of a request; its reply will come out of `push` with this transaction. */
  frame(transaction: number, unit: number, pdu: Uint8Array): Uint8Array;
  /** Takes the first `length` bytes of `chunk`; false where the stream is broken and the connection has to go. */
  push(chunk: DataView, length: number, sink: FrameSink): boolean;
  /** Could a reply that comes now from this unit be one to an earlier request? Then it must not be asked. */
  blocks(unit: number): boolean;
  /** A request to this unit ended without its reply, which may still come. */
  missed(unit: number, timeout: Duration): void;
}

/** Modbus TCP: the transaction id tells replies apart. One per connection. */
export class MbapWire implements Wire {
  readonly #framer = new MbapFramer();

  frame(transaction: number, unit: number, pdu: Uint8Array): Uint8Array {
    return mbapFrame(transaction, unit, pdu);
  }

  push(chunk: DataView, length: number, sink: FrameSink): boolean {
    return this.#framer.push(chunk, length, sink);
  }

  blocks(): boolean {
    return false;
  }

  missed(): void {}
}
