import { SluiceError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { Task } from '../core/task.ts';
import type { Intended } from './actor.ts';
import type { Audit, Deed, Who } from './audit.ts';
import type { Firewall } from './firewall.ts';
import { TIME_IS_OVER } from './measures.ts';
import { ToldOnce, glances } from './told-once.ts';

export interface WatchedMeasures {
  readonly firewall: Firewall;
  readonly audit: Audit;
  /** Who does it, for the audit. */
  readonly who: Who;
  readonly log: Log;
}

/**
 * What netd does about those in quarantine by itself, where somebody's time is over or they took another address; each of
 * it is written down before it is done.
 */
export class MeasureWatch implements Task {
  readonly name = 'measures';
  readonly #parts: WatchedMeasures;
  /** What was written down and could not be done yet: it is tried every second, and written down once. */
  readonly #intended = new Set<string>();

  constructor(parts: WatchedMeasures) {
    this.#parts = parts;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { log } = this.#parts;
    const told = new ToldOnce((error) => log.error('cannot do what is due about the quarantine', { error }));
    await glances(async () => this.#look(), told, signal);
  }

  async #look(): Promise<void> {
    const { firewall, log } = this.#parts;
    for (const { device } of await firewall.sweep({ intend: this.#intend('release') })) {
      await this.#done({ verb: 'release', outcome: 'done', device, detail: TIME_IS_OVER });
      log.info('released: its time is over', { device });
    }
    for (const { device, addresses } of await firewall.follow({ intend: this.#intend('quarantine') })) {
      await this.#done({ verb: 'quarantine', outcome: 'done', device, detail: addresses.join(', ') });
      log.warn('somebody in quarantine uses another address, which is cut too', {
        device,
        addresses: addresses.join(', '),
      });
    }
    this.#intended.clear();
  }

  /** To let somebody go unseen is what nobody may; to hold on to them is. */
  #intend(verb: 'release' | 'quarantine'): (what: Intended) => Promise<void> {
    return async (what) => {
      const key = `${verb} ${what.device}`;
      if (this.#intended.has(key)) return;
      const { audit, who } = this.#parts;
      const lost = await audit.record(who, { verb, outcome: 'intended', ...what });
      if (lost === undefined) this.#intended.add(key);
      else if (verb === 'release')
        throw new SluiceError('SETUP', `the audit cannot be written, so nobody is released: ${lost}`);
    };
  }

  async #done(deed: Deed): Promise<void> {
    await this.#parts.audit.record(this.#parts.who, deed);
  }
}
