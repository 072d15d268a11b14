import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { Child } from './child.ts';

const READ = 4 * 1_024 * 1_024;

export interface RecorderOptions {
  /** The plain listener of Mosquitto. */
  readonly port: number;
  readonly topic: string;
  /** Where the recording goes: a line a message, `seconds.nanoseconds <tab> topic <tab> payload`. */
  readonly file: string;
}

/**
 * mosquitto_sub writes down every message with the time of its arrival; what it means is found out afterwards, so
 * that the reading does not compete with what is measured. Its session is persistent: nothing is missed while the
 * broker starts again.
 */
export class Recorder implements AsyncDisposable {
  readonly file: string;
  #child: Child;
  #output: number;

  constructor({ port, topic, file }: RecorderOptions) {
    this.file = file;
    this.#output = openSync(file, 'w+');
    this.#child = new Child({
      name: 'mosquitto_sub',
      command: 'mosquitto_sub',
      args: ['-h', '127.0.0.1', '-p', `${port}`, '-i', 'bench-recorder', '-c', '-q', '1'].concat([
        '-t',
        topic,
        '-F',
        '%U\t%t\t%p',
      ]),
      stdout: this.#output,
    });
  }

  get bytes(): number {
    this.#child.mustRun();
    return fstatSync(this.#output).size;
  }

  /** Follows the recording: how many messages since the last call have `topic` in them. */
  follow(topic: string): () => number {
    const wanted = Buffer.from(topic);
    const chunk = Buffer.allocUnsafe(READ);
    // A topic that lies across two pieces is found in the second, which begins a little before the end of the first.
    const overlap = wanted.length - 1;
    let position = 0;
    return () => {
      this.#child.mustRun();
      let found = 0;
      for (;;) {
        const start = Math.max(0, position - overlap);
        const piece = chunk.subarray(0, readSync(this.#output, chunk, 0, READ, start));
        if (start + piece.length <= position) return found;
        for (let at = piece.indexOf(wanted); at >= 0; at = piece.indexOf(wanted, at + 1)) found++;
        position = start + piece.length;
      }
    };
  }

  /** Everything that mosquitto_sub still holds is in the file afterwards. */
  async stop(): Promise<void> {
    await this.#child.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    closeSync(this.#output);
  }
}
