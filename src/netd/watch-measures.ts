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

  constructor(parts: WatchedMeasures) {
    this.#parts = parts;
  }

  /** Each by itself: what keeps somebody from being released keeps nobody from being followed. */
  async run(signal: AbortSignal): Promise<void> {
    const { log } = this.#parts;
    const failing = (what: string): ToldOnce => new ToldOnce((error) => log.error(what, { error }));
    await Promise.all([
      glances(this.#releasing(), failing('cannot release those whose time is over'), signal),
      glances(this.#following(), failing('cannot follow those in quarantine'), signal),
      glances(async () => this.#keep(), failing('what is in force is not all on the disk'), signal),
    ]);
  }

  async #keep(): Promise<void> {
    const { firewall, log } = this.#parts;
    if (await firewall.keep()) log.info('what is in force is on the disk again');
  }

  #releasing(): () => Promise<void> {
    const { firewall, log } = this.#parts;
    const intended = new Set<string>();
    return async () => {
      for (const { device } of await firewall.sweep({ intend: this.#intend('release', intended) })) {
        await this.#done({ verb: 'release', outcome: 'done', device, detail: TIME_IS_OVER });
        log.info('released: its time is over', { device });
      }
      intended.clear();
    };
  }

  #following(): () => Promise<void> {
    const { firewall, log } = this.#parts;
    const intended = new Set<string>();
    return async () => {
      const found = await firewall.follow({ intend: this.#intend('quarantine', intended) });
      for (const { device, addresses } of found) {
        await this.#done({ verb: 'quarantine', outcome: 'done', device, detail: addresses.join(', ') });
        log.warn('somebody in quarantine uses another address, which is cut too', {
          device,
          addresses: addresses.join(', '),
        });
      }
      intended.clear();
    };
  }

  /**
   * To let somebody go unseen is what nobody may; to hold on to them is. `intended` is what was written down and could not
   * be done yet: it is tried every second, and written down once.
   */
  #intend(verb: 'release' | 'quarantine', intended: Set<string>): (what: Intended) => Promise<void> {
    return async (what) => {
      const { device = '' } = what;
      if (intended.has(device)) return;
      const { audit, who } = this.#parts;
      const lost = await audit.record(who, { verb, outcome: 'intended', ...what });
      if (lost === undefined) intended.add(device);
      else if (verb === 'release')
        throw new SluiceError('SETUP', `the audit cannot be written, so nobody is released: ${lost}`);
    };
  }

  async #done(deed: Deed): Promise<void> {
    await this.#parts.audit.record(this.#parts.who, deed);
  }
}
