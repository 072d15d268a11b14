import { setTimeout as pause } from 'node:timers/promises';
import { errorText } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { Task } from '../core/task.ts';
import { type Duration, milliseconds, minutes, seconds } from '../core/units.ts';
import { encloses } from '../segmentation/closed.ts';
import type { Consequences } from '../segmentation/consequences.ts';
import type { Audit, Who } from './audit.ts';
import { type Culprit, culpritText } from './culprit.ts';
import type { DriftBook, DriftEvent, GoesOn } from './drift-book.ts';
import { effectOf, eventOf, recordEvent, whatOf } from './drift-event.ts';
import { stateOf } from './bring.ts';
import type { Firewall } from './firewall.ts';
import { bothOf, type Forwarded, startForwarding, stopForwarding } from './forwarding.ts';
import type { Found, Inspected } from './inspect.ts';
import { monitor, type Touched } from './monitor.ts';
import { sinceBoot } from './monotonic.ts';
import { isOwn } from './own-nft.ts';
import { glances, ToldOnce } from './told-once.ts';

// Somebody else was at our tables: found, told and put right.

/** Without anybody having been seen: what the monitor missed, and what nobody can see. */
const EVERY: Duration = minutes(5);
/** A program that makes many changes is answered once; also the longest that one of them holds. */
const SETTLE: Duration = milliseconds(100);
/** Somebody at other tables may have been at ours in the same breath, and some are at theirs all the time. */
const ELSEWHERE: Duration = seconds(5);
/** Between two looks, however many changes are seen: a look costs a listing. */
const LEAST: Duration = milliseconds(500);
/** Longer nothing stays as it is only to know who it was. */
const NAMED_WITHIN: Duration = milliseconds(300);
const GLANCE: Duration = milliseconds(20);
/** After a look that failed, or found somebody at it. */
const AGAIN: Duration = seconds(10);
/** What could not be put right is tried again soon, and every AGAIN after that many times: it may last. */
const SOON: Duration = seconds(2);
const MOST_SOON = 5;
/** An accident happens once, and somebody who mends a wall with a hammer strikes a few times; a program does not tire. */
export const MOST_HEALS = 5;
const HEALS_WITHIN: Duration = minutes(10);
const MOST_SUSPECTS = 5;

const STOPPED = 'forwarding between interfaces is stopped, as packets would pass that are not declared';
const STOPPED_AGAIN =
  'forwarding between interfaces was switched on by another program, and is stopped again until the rules hold';

export interface DriftParts {
  readonly firewall: Firewall;
  readonly book: DriftBook;
  readonly audit: Audit;
  readonly who: Who;
  /** Does the configuration want it put right? */
  readonly heal: () => Promise<boolean>;
  /** Somebody changed rules that are not ours, which may be a way around them. */
  readonly elsewhere?: () => void;
  readonly told?: (event: DriftEvent) => void;
  readonly log: Log;
}

export function driftTasks(parts: DriftParts): readonly Task[] {
  const watch = new DriftWatch(parts);
  return [
    monitor({
      seen: (culprit, touched) => {
        watch.suspect(culprit, touched);
        if (touched.others) parts.elsewhere?.();
      },
      listening: () => watch.wake(),
      log: parts.log,
    }),
    { name: 'drift', run: async (signal) => watch.run(signal) },
    {
      name: 'changes of ours',
      run: async (signal) =>
        glances(
          async () => watch.glance(),
          new ToldOnce((error) => parts.log.error('cannot look after changes of ours', { error })),
          signal,
        ),
    },
  ];
}

type Heal = 'heal' | 'leave' | 'give up';

class DriftWatch {
  readonly #parts: DriftParts;
  #suspects: (Touched & { readonly culprit: Culprit })[] = [];
  #later: NodeJS.Timeout | undefined;
  #heals: Duration[] = [];
  /** In a row. */
  #failures = 0;
  #wake: () => void = () => {};
  #awake = false;
  #damaged: readonly string[] = [];
  /** Why rules of ours could not be loaded, as it was told. */
  #unloaded: string | undefined;
  #restless: string | undefined;
  /** What came of stopping, as it was told. */
  #toldStop: string | undefined;
  /** Before that nobody knows whether it still has to be stopped. */
  #hasLooked = false;
  /** What was told and left: it is not told again. */
  #left: string | undefined;
  /** Who was told of it. */
  #leftBy: readonly Culprit[] = [];
  readonly #trouble = new ToldOnce((error) =>
    this.#parts.log.error('cannot tell whether somebody changed the rules', { error }),
  );
  readonly #unwritten = new ToldOnce((error) =>
    this.#parts.log.error('what another program changed cannot be written down', { error }),
  );

  constructor(parts: DriftParts) {
    this.#parts = parts;
    parts.book.take();
  }

  suspect(culprit: Culprit, touched: Touched): void {
    const isOurs = culprit.pid !== undefined && isOwn(this.#parts.firewall.folder, culprit.pid);
    if (!isOurs) this.#suspects = [...this.#suspects, { ...touched, culprit }].slice(-MOST_SUSPECTS);
    if (touched.ours || !touched.others) this.wake();
    else this.#later ??= setTimeout(() => this.wake(), ELSEWHERE);
  }

  /** A change of ours says nothing by itself, and a command of root is another process. */
  async glance(): Promise<void> {
    const restless = this.#parts.firewall.restless();
    if (restless !== undefined && restless !== this.#restless) this.wake();
    this.#restless = restless;
    if (this.#hasLooked) await this.#holdOff();
  }

  /** Somebody switches on what is held off: told once, stopped as often as it takes. */
  async #holdOff(): Promise<void> {
    const { audit, who, log, book } = this.#parts;
    const { givenUp, stopped } = book.read();
    if (stopped === undefined) return;
    const again = stopForwarding();
    if (again.length === 0) return;
    this.#note({ givenUp, stopped: bothOf(stopped, again) });
    if (this.#isToldStop(STOPPED_AGAIN)) return;
    log.error(STOPPED_AGAIN, { forwarding: again.join(' ') });
    await audit.record(who, { verb: 'drift', outcome: 'done', detail: STOPPED_AGAIN });
  }

  #isToldStop(told: string): boolean {
    const before = this.#toldStop;
    this.#toldStop = told;
    return before === told;
  }

  wake(): void {
    clearTimeout(this.#later);
    this.#later = undefined;
    this.#awake = true;
    this.#wake();
  }

  async run(signal: AbortSignal): Promise<void> {
    let wait: Duration = milliseconds(0);
    signal.addEventListener('abort', () => clearTimeout(this.#later), { once: true });
    while (!signal.aborted) {
      await this.#sleep(wait, signal);
      if (signal.aborted) return;
      await pause(SETTLE, undefined, { signal }).catch(() => {});
      this.#awake = false;
      wait = await this.#look();
      await pause(LEAST, undefined, { signal }).catch(() => {});
    }
  }

  async #sleep(wait: Duration, signal: AbortSignal): Promise<void> {
    if (this.#awake) return;
    const over = new AbortController();
    this.#wake = () => over.abort();
    await pause(wait, undefined, { signal: AbortSignal.any([signal, over.signal]) }).catch(() => {});
    this.#wake = () => {};
  }

  /** When it has to be looked again. */
  async #look(): Promise<Duration> {
    let suspects: readonly Culprit[] = [];
    this.#write(() => this.#parts.book.settle());
    try {
      let decided: Heal = 'leave';
      const inspected = await this.#parts.firewall.inspect(async (found) => {
        // Nobody else did it, and nobody has to want it put right.
        if (found.ours !== undefined) return true;
        decided = await this.#decide();
        if (this.#isNew(found)) {
          suspects = await this.#named();
          this.#alarm(found, suspects);
        }
        return decided === 'heal';
      });
      this.#trouble.over();
      await this.#tellUndone();
      // A first change that was taken back.
      if (inspected === 'nothing') this.#goOn('nothing has to hold any more');
      if (typeof inspected === 'string') return inspected === 'nothing' ? EVERY : AGAIN;
      await this.#tellDamage(inspected.damaged);
      if (inspected.holds) await this.#rest();
      else if (inspected.ours !== undefined) await this.#tellOurs(inspected, inspected.ours);
      else await this.#tell(inspected, decided, suspects);
      return this.#next(inspected);
    } catch (error) {
      this.#trouble.failed(error);
      return AGAIN;
    } finally {
      this.#hasLooked = true;
    }
  }

  /** Once; it is no reason to open anything, and somebody has to look at the disk. */
  async #tellDamage(damaged: readonly string[]): Promise<void> {
    const { audit, who, log } = this.#parts;
    const before = this.#damaged;
    this.#damaged = damaged;
    for (const one of damaged.filter((now) => !before.includes(now))) {
      log.error('what is known about the rules is damaged', { damaged: one });
      await audit.record(who, { verb: 'damage', outcome: 'failed', detail: one });
    }
    if (before.length > 0 && damaged.length === 0) log.info('what is known about the rules is whole again');
  }

  /** What changes of ours undid before anybody could look; each counts like one that was put right. */
  async #tellUndone(): Promise<void> {
    for (const found of this.#parts.firewall.undone()) {
      if (!this.#isNew(found)) continue;
      const suspects = await this.#named();
      this.#alarm(found, suspects);
      await this.#tell(found, 'heal', suspects);
      this.#heals.push(sinceBoot());
    }
  }

  /** Told once for each reason; closed like any other way in which rules do not hold. */
  async #tellOurs(found: Inspected, why: string): Promise<void> {
    const { audit, who, log } = this.#parts;
    if (found.healed === 'done') {
      await this.#tellLoaded(why);
      return;
    }
    const stopped = await this.#close(found, 'heal', await afterwards(() => effectOf(found)));
    if (this.#unloaded === why && stopped === undefined) return;
    this.#unloaded = why;
    const detail = [why, stopped].filter((text) => text !== undefined).join('; ');
    await audit.record(who, { verb: 'load', outcome: 'failed', detail });
    log.error('rules that were asked for are not loaded, and are tried again', { why: detail });
  }

  async #tellLoaded(why: string): Promise<void> {
    this.#unloaded = undefined;
    const { audit, who, log } = this.#parts;
    await audit.record(who, { verb: 'load', outcome: 'done', detail: `it had failed: ${why}` });
    log.warn('rules that could not be loaded when they were asked for are loaded', { why });
  }

  #next({ healed, ours }: Inspected): Duration {
    if (typeof healed !== 'string') return (this.#failures += 1) > MOST_SOON ? AGAIN : SOON;
    this.#failures = 0;
    if (healed !== 'done' || ours !== undefined) return EVERY;
    this.#heals.push(sinceBoot());
    return SOON;
  }

  /** Whoever was seen since the last look. What nft monitor says may come a moment later than what it speaks of. */
  async #named(): Promise<readonly Culprit[]> {
    const last = sinceBoot() + NAMED_WITHIN;
    while (this.#suspects.length === 0 && sinceBoot() < last) await pause(GLANCE);
    const suspects = this.#suspects;
    this.#suspects = [];
    const sure = suspects.filter(({ ours }) => ours);
    return (sure.length > 0 ? sure : suspects).map(({ culprit }) => culprit);
  }

  async #decide(): Promise<Heal> {
    if (this.#parts.book.read().givenUp !== undefined) return 'leave';
    if (!(await this.#parts.heal())) return 'leave';
    const now = sinceBoot();
    this.#heals = this.#heals.filter((at) => now - at < HEALS_WITHIN);
    return this.#heals.length >= MOST_HEALS ? 'give up' : 'heal';
  }

  #isNew(found: Found): boolean {
    return this.#left !== seenOf(found);
  }

  /** At once; what follows from it takes a proof. */
  #alarm(found: Found, suspects: readonly Culprit[]): void {
    this.#parts.log.error('another program changed the rules', {
      by: byText(suspects),
      differs: whatOf(found).join(', '),
    });
  }

  async #tell(found: Inspected, decided: Heal, suspects: readonly Culprit[]): Promise<void> {
    const state = seenOf(found);
    const outcome = outcomeOf(found, decided);
    const isTold = this.#left === state;
    const by = isTold && suspects.length === 0 ? this.#leftBy : suspects;
    this.#leftBy = by;
    this.#left = outcome === 'healed' ? undefined : state;
    const effect = await afterwards(() => effectOf(found));
    // Also when it is told already: while given up, the next one may be the one that opens.
    const stopped = await this.#close(found, decided, effect);
    if (isTold && stopped === undefined && (outcome === 'left' || outcome === 'failed')) return;
    const detail = [detailOf(found, decided), stopped].filter((text) => text !== undefined).join('; ');
    const event = eventOf(found, effect, {
      by: by.map(culpritText),
      outcome,
      detail: detail === '' ? null : detail,
    });
    await this.#record(event);
  }

  /**
   * Not put right, and something is open: nothing is forwarded until the rules hold again, whether it is tried on or given
   * up. What came of it, where something did.
   */
  async #close(
    { document, healed }: Inspected,
    decided: Heal,
    { closed }: Consequences,
  ): Promise<string | undefined> {
    const before = this.#parts.book.read();
    const since = before.givenUp?.since ?? new Date().toISOString();
    const givenUp = decided === 'give up' || before.givenUp !== undefined ? { since } : undefined;
    const isLeft = givenUp === undefined && typeof healed === 'string';
    const isDue = before.stopped === undefined && !isLeft && !closed && encloses(document);
    const { stopped, told } = isDue ? stop() : { stopped: before.stopped, told: undefined };
    this.#note({ givenUp, stopped });
    if (healed !== 'done') await this.#holdOff();
    return told === undefined || this.#isToldStop(told) ? undefined : told;
  }

  #note(goesOn: GoesOn): void {
    this.#parts.book.note(goesOn);
    this.#write(() => this.#parts.book.settle());
  }

  /** The rules hold; whoever saw to that, after we had given up, ends that too. */
  async #rest(): Promise<void> {
    // Those seen before are nobody's concern; those seen since make it look again.
    if (!this.#awake) this.#suspects = [];
    const { log } = this.#parts;
    if (this.#unloaded !== undefined) await this.#tellLoaded(this.#unloaded);
    if (this.#left !== undefined) log.info('the rules hold again');
    this.#goOn('the rules hold again');
  }

  #goOn(why: string): void {
    const { log, book } = this.#parts;
    const { givenUp, stopped } = book.read();
    this.#left = undefined;
    this.#toldStop = undefined;
    if (givenUp === undefined && stopped === undefined) return;
    startForwarding(stopped ?? []);
    if (givenUp !== undefined) this.#heals = [];
    this.#note({ givenUp: undefined, stopped: undefined });
    const again =
      givenUp === undefined
        ? 'forwarding between interfaces is as it was'
        : 'what others change is put right again';
    log.info(`${why}: ${again}`, { forwarding: stopped?.join(' ') });
  }

  async #record(event: DriftEvent): Promise<void> {
    const { audit, who, log, told } = this.#parts;
    const { gained, lost, packets, outcome, detail, unclear } = event;
    const facts = {
      outcome,
      detail,
      gained: shortOf(gained),
      lost: shortOf(lost),
      packet: packets[0],
      unclear,
    };
    if (outcome === 'healed') log.warn('what another program changed is put right', facts);
    else log.error('what another program changed is in force', facts);
    this.#write(() => this.#parts.book.add(event));
    await recordEvent(audit, who, event);
    told?.(event);
  }

  /** A full disk keeps nothing from being put right. */
  #write(act: () => void): void {
    try {
      act();
      this.#unwritten.over();
    } catch (error) {
      this.#unwritten.failed(error);
    }
  }
}

function stop(): { readonly stopped?: Forwarded; readonly told: string } {
  try {
    return { stopped: stopForwarding(), told: STOPPED };
  } catch (error) {
    return {
      told: `forwarding could not be stopped, and packets pass that are not declared: ${errorText(error)}`,
    };
  }
}

function outcomeOf({ healed }: Inspected, decided: Heal): DriftEvent['outcome'] {
  if (decided === 'give up') return 'given up';
  if (healed === 'not asked') return 'left';
  return healed === 'done' ? 'healed' : 'failed';
}

function detailOf({ healed }: Inspected, decided: Heal): string | undefined {
  if (decided === 'give up')
    return `put right ${MOST_HEALS} times within ${HEALS_WITHIN / 60_000} minutes, and changed again: it is not any more, until ./sluice firewall rollback`;
  if (healed === 'not asked') return 'it is left: ./sluice firewall rollback puts it right';
  return healed === 'done' ? undefined : healed.failed;
}

const seenOf = ({ listing, unreadable }: Found): string => unreadable ?? stateOf(listing);

const byText = (suspects: readonly Culprit[]): string => {
  const texts = suspects.toReversed().map(culpritText);
  return texts.length === 0 ? 'nobody was seen' : texts.join(', or ');
};

const shortOf = (sentences: readonly string[]): string | undefined => {
  if (sentences.length === 0) return undefined;
  const more = sentences.length > 3 ? `; and ${sentences.length - 3} more` : '';
  return `${sentences.slice(0, 3).join('; ')}${more}`;
};

/** A proof of a large plant takes a second: others come first. */
async function afterwards<T>(act: () => T): Promise<T> {
  await new Promise((resolve) => setImmediate(resolve));
  return act();
}
