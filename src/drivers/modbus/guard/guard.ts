import type { Clock } from '../../../core/clock.ts';
import { errorText } from '../../../core/errors.ts';
import type { Facts, Log } from '../../../core/log.ts';
import type { Task } from '../../../core/task.ts';
import { seconds } from '../../../core/units.ts';
import type { GuardedConduit, GuardTarget } from '../../../segmentation/guards.ts';
import { Book, type GuardCounters } from './book.ts';
import { GuardListener } from './listener.ts';

/** How often silent clients and connections without use are looked for, and a port that was taken is tried again. */
const SWEEP_EVERY = seconds(5);

export interface ModbusGuard extends Task {
  readonly counters: Readonly<GuardCounters>;
}

interface Dependencies {
  readonly guards: readonly GuardedConduit[];
  readonly clock: Clock;
  readonly log: Log;
  readonly onEvent: (kind: string, subject: string, facts: Facts) => void;
}

interface Place {
  readonly conduit: GuardedConduit;
  readonly target: GuardTarget;
  listener: GuardListener | undefined;
  told: boolean;
}

/**
 * The way through guarded conduits: rules lead connections here, and each request is looked at as a whole before the
 * device hears of it. A port that cannot be had closes its way, and nothing else.
 */
export function modbusGuard({ guards, clock, log, onEvent }: Dependencies): ModbusGuard {
  const book = new Book({ clock, log, onEvent });
  const places: Place[] = guards
    .filter(({ limits }) => limits.grade === 'enforced')
    .flatMap((conduit) =>
      conduit.targets.map((target) => ({ conduit, target, listener: undefined, told: false })),
    );

  async function open(place: Place): Promise<void> {
    const { conduit, target } = place;
    const listener = new GuardListener({ conduit, target, book, clock });
    try {
      await listener.listen();
      place.listener = listener;
      if (place.told) log.info('guard: its port is free again', { port: target.listener });
      place.told = false;
    } catch (error) {
      listener.close();
      if (place.told) return;
      place.told = true;
      log.error('guard: no way through, its port cannot be had', {
        conduit: conduit.name,
        devices: target.devices.join(','),
        port: target.listener,
        error: errorText(error),
      });
      onEvent('guard-closed', conduit.name, { port: target.listener, error: errorText(error) });
    }
  }

  async function run(signal: AbortSignal): Promise<void> {
    try {
      for (;;) {
        for (const place of places) {
          if (place.listener === undefined) await open(place);
          else place.listener.sweep();
        }
        book.sweep();
        await clock.sleep(SWEEP_EVERY, signal);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      for (const { listener } of places) listener?.close();
      book.close();
    }
  }

  return { name: 'modbus guard', counters: book.counters, run };
}
