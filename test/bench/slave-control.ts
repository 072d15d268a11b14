import { z } from 'zod';
import { Child } from './child.ts';
import type { Plant } from './plant.ts';
import { ports, type SlaveAsk, type SlaveReport, slaveReport } from './slave-messages.ts';

/** The bench's hand on the slave process. */
export class Slave implements AsyncDisposable {
  readonly ports: readonly number[];
  readonly #child: Child;

  private constructor(child: Child, listening: readonly number[]) {
    this.#child = child;
    this.ports = listening;
  }

  static async start(plant: Plant): Promise<Slave> {
    const child = Child.helper('slave', 'slave.ts', plant);
    return new Slave(child, await child.ask({ what: 'ports' } satisfies SlaveAsk, ports));
  }

  /** Counting begins again. */
  async reset(): Promise<void> {
    await this.#tell({ what: 'reset' });
  }

  async report(): Promise<SlaveReport> {
    return this.#child.ask({ what: 'report' } satisfies SlaveAsk, slaveReport);
  }

  /** These devices never answer again; their connections stay open. */
  async silence(devices: number[]): Promise<void> {
    await this.#tell({ what: 'silence', devices });
  }

  async #tell(ask: SlaveAsk): Promise<void> {
    await this.#child.ask(ask, z.null());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child.stop();
  }
}
