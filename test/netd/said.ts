import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { answer } from '../../src/netd/peer.ts';
import type { Bed } from './bed.ts';

/** A connection of this user that has shown who it is; with the lines that are told. */
export class Speaker {
  readonly #socket: Socket;
  readonly #lines: AsyncIterator<string>;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#lines = createInterface({ input: socket })[Symbol.asyncIterator]();
  }

  static async to(bed: Bed): Promise<Speaker> {
    const socket = connect(bed.socket);
    socket.on('error', () => {}); // it ends, which is what is looked for
    const speaker = new Speaker(socket);
    const [, word = ''] = /"challenge":"([0-9a-f]+)"/.exec(await speaker.heard()) ?? [];
    answer(bed.socket, word);
    return speaker;
  }

  say(line: string): void {
    this.#socket.write(line);
  }

  /** The next line; empty where the connection has ended. */
  async heard(): Promise<string> {
    const next: IteratorResult<string, unknown> = await this.#lines.next();
    return next.done === true ? '' : next.value;
  }

  async asked(request: object): Promise<string> {
    this.say(`${JSON.stringify({ v: 1, ...request })}\n`);
    return this.heard();
  }

  end(): void {
    this.#socket.destroy();
  }
}

/** The answer to one line of a connection of its own. */
export async function said(bed: Bed, line: string): Promise<string> {
  const speaker = await Speaker.to(bed);
  speaker.say(line);
  const heard = await speaker.heard();
  speaker.end();
  return heard;
}
