import { randomBytes } from 'node:crypto';
import { errorText, SluiceError } from '../core/errors.ts';
import { type Duration, epochMs, milliseconds, seconds } from '../core/units.ts';
import { closedRules } from '../segmentation/closed.ts';
import { compile } from '../segmentation/compile.ts';
import type { Policy } from '../segmentation/policy.ts';
import { policyText } from '../segmentation/policy-text.ts';
import type { Meant } from '../segmentation/suspects.ts';
import { render } from '../segmentation/render.ts';
import type { Actor } from './actor.ts';
import { arm } from './arm.ts';
import { type Facts, isOpen, mayBeReopened, saidSoon } from './after-boot.ts';
import type { BootReport } from './boot-report.ts';
import type { Brought } from './bring.ts';
import { type Cut, InForce } from './in-force.ts';
import { expected, type Found, inspect, type Inspected, type Unclear, undone } from './inspect.ts';
import { type Lock, lockOf } from './lock.ts';
import { known, type Looking, proven, quarantined, status } from './look.ts';
import {
  type Because,
  current,
  enforces,
  follow,
  type Ground,
  island,
  type Islanded,
  mustEnforce,
  quarantine,
  type Quarantined,
  rejoin,
  release,
  type Released,
  releaseOverdue,
  strangers,
} from './measures.ts';
import { HELD, heldBy } from './held.ts';
import { bootId, sinceBoot } from './monotonic.ts';
import { ended, flowsMeant, type MustWork, mustWork } from './must-work.ts';
import { Nft } from './nft.ts';
import {
  loadProven,
  mayLoad,
  mustBeNew,
  mustBeOver,
  mustBeTried,
  mustWait,
  objection,
} from './objections.ts';
import { ObservingEnds } from './observing-ends.ts';
import type { Applied, Known, Listing, RolledBack, Settled, Status, Proven } from './outcome.ts';
import type { Entry } from './quarantine-book.ts';
import { digest, NO_RULES, type Pending, State } from './state.ts';

/** Another change takes as long as nft does; then a person is told. */
const PATIENCE: Duration = seconds(60);

/** What may be done to the rules of this machine, below the data folder of one gateway. One change at a time. */
export class Firewall {
  readonly #data: string;
  readonly #state: State;
  readonly #force: InForce;
  readonly #ends = new ObservingEnds();
  readonly #stays: boolean;
  #report: BootReport | undefined;
  /** A start that closed is over, and nobody has seen to the kernel yet. */
  #isReopened = false;
  /** For which rules the kernel was given what is not on the disk. */
  #owedFor: string | undefined;
  /** Where everything that is known about the rules lies. */
  readonly folder: string;

  /**
   * `strict` refuses a folder of rules that others could put another one in the place of. `stays` is for a process that
   * goes on and calls `keep`: it holds what the disk does not take.
   */
  constructor(
    data: string,
    { strict = false, stays = false }: { readonly strict?: boolean; readonly stays?: boolean } = {},
  ) {
    this.#stays = stays;
    this.#data = data;
    this.#state = new State(data, { strict });
    this.#force = new InForce(this.#state);
    this.folder = this.#state.folder;
  }

  /**
   * What a start of the machine would load is what is confirmed, and what it would load where that is damaged is there.
   * Returns why not, where it could not be written.
   */
  async keepForBoot(policy: () => Promise<Policy>): Promise<string | undefined> {
    try {
      using held = new DisposableStack();
      held.use(await this.#locked());
      const confirmed = this.#state.confirmed();
      if (confirmed === undefined) return undefined;
      this.#force.keepBoot();
      if (!this.#state.hasClosed()) this.#state.keepClosed(closedRules(await policy()));
      return undefined;
    } catch (error) {
      return errorText(error);
    }
  }

  /**
   * This start of the machine could not load what was confirmed, and closed: a file that is whole again, or another one that
   * was, opens nothing. So it stays until a roll back, or until rules are confirmed or loaded by another start of the unit.
   * False where somebody saw to that already. Throws where what closes cannot be loaded.
   */
  async shut(why: string, policy: () => Promise<Policy>): Promise<boolean> {
    if (await this.#isOpen()) return false;
    this.#state.shut(why);
    await this.keepForBoot(policy);
    using lock = await this.#locked();
    const kept = this.#state.kept();
    if (kept !== undefined) await this.#force.bring(new Nft({ lock: lock.descriptor }), kept.rules);
    return true;
  }

  async #isOpen(): Promise<boolean> {
    try {
      using lock = await this.#locked();
      return await isOpen(this.#facts, new Nft({ lock: lock.descriptor }));
    } catch {
      return false;
    }
  }

  get #facts(): Facts {
    return { state: this.#state, force: this.#force };
  }

  /** From now on what this says is gone by whenever rules are looked at: who loads them beside us is nobody else. */
  heeds(report: BootReport): void {
    this.#report = report;
  }

  /** The same at once. Throws where what is confirmed cannot be loaded then. */
  async heed(): Promise<void> {
    using lock = await this.#locked();
    const isReopened = this.#isReopened;
    this.#isReopened = false;
    const kept = isReopened && this.waits() === undefined ? this.#state.kept() : undefined;
    if (kept !== undefined) await this.#force.bring(new Nft({ lock: lock.descriptor }), kept.rules);
  }

  /** A start of the unit loaded what was confirmed: the one that closed is over. True where there was one. */
  #reopened(): boolean {
    const isReopened = this.#report?.read()?.isGood === true && this.#state.open();
    if (isReopened) this.#isReopened = true;
    return isReopened;
  }

  /** Throws where the folder is not ours alone. */
  prepare(): void {
    this.#state.prepare();
  }

  /**
   * The kernel holds what the policy declares when this returns, proven; and holds it on only when `confirm` is called
   * in time. Throws where it could not be done: then the kernel holds what was confirmed before.
   */
  async apply(policy: Policy, within: Duration, by: Actor = {}, work?: MustWork): Promise<Applied> {
    const document = render(compile(policy));
    // Before anything is written: who may not change rules leaves no files behind.
    await mayLoad(document, policy);
    this.#state.prepare();
    const { applied, onTrial } = await this.#begun(policy, document, { within, by, work });
    if (onTrial === undefined) return applied;
    // It may take minutes: meanwhile others cut off, roll back, and put right what somebody changes.
    by.aside?.();
    return { ...applied, unanswered: await this.#tried(onTrial.id, policy, onTrial.work) };
  }

  /** Loaded and proven; what must work is still to be tried. */
  async #begun(policy: Policy, document: string, { within, by, work }: Asked): Promise<Begun> {
    using lock = await this.#changing();
    const nft = new Nft({ lock: lock.descriptor });
    await this.#refuseWhileWaiting(nft);
    const kept = this.#state.kept();
    const confirmed = kept?.rules;
    if (confirmed !== undefined && digest(confirmed) === digest(document)) {
      await by.intend?.({ rules: digest(document) });
      if (this.#force.policyOf(document) === undefined)
        this.#state.keepPolicy(policyText(policy, digest(document)));
      const brought = await this.#loadProven(nft, document, policy);
      if (kept?.lost !== undefined) this.#state.confirm(document, this.#force.document(document));
      this.#force.keepBoot();
      this.#state.keepClosed(closedRules(policy));
      return { applied: { id: undefined, within, first: false, ...brought }, onTrial: undefined };
    }
    mustEnforce({ force: this.#force }, document);
    const id = randomBytes(4).toString('hex');
    const pending = {
      id,
      until: milliseconds(sinceBoot() + within),
      within,
      boot: bootId(),
      rules: digest(document),
      tried: false,
      since: epochMs(Date.now()),
      ...(by.session !== undefined && { session: by.session }),
    };
    await by.intend?.({ change: id, rules: pending.rules });
    // Rules that nobody here confirmed: without them the network would be open, and what they are is not known.
    const isForeign = confirmed === undefined && (await nft.list()) !== undefined;
    const shut = closedRules(policy);
    const before = confirmed ?? (isForeign ? shut : NO_RULES);
    try {
      this.#state.begin(pending, document, {
        policy: policyText(policy, pending.rules),
        closed: shut,
        before: isForeign ? shut : undefined,
      });
      await arm(this.#data, this.#state.folder, id);
      const brought = await this.#loadProven(nft, document, policy);
      const isMeant = work !== undefined && flowsMeant(this.#force.policy(policy), work.flows).length > 0;
      const onTrial = isMeant ? { id, work } : undefined;
      this.#goOn(pending, onTrial?.work);
      const closes = isForeign || kept?.from === 'closed.json';
      return { applied: { id, within, first: confirmed === undefined, closes, ...brought }, onTrial };
    } catch (error) {
      throw await this.#takenBack(nft, before, error);
    }
  }

  /**
   * Whoever has to look at the plant gets the whole time for it. While something is on trial the guards wait for the end
   * of that too, which names what did not work.
   */
  #goOn(pending: Pending, onTrial?: MustWork): void {
    const until = milliseconds(sinceBoot() + pending.within + (onTrial?.within ?? 0));
    this.#state.goOn({ ...pending, tried: onTrial === undefined, until });
  }

  /** Devices that did not answer. Throws where what must work did not, or the change does not wait any more. */
  async #tried(id: string, policy: Policy, work: MustWork): Promise<readonly string[]> {
    const trial = await ended(
      mustWork(new Nft(), work, {
        policy: () => this.#force.policy(policy),
        goesOn: () => this.waits() === id,
      }),
    );
    using lock = await this.#changing();
    const nft = new Nft({ lock: lock.descriptor });
    const pending = this.#waiting();
    if (pending?.id !== id) {
      throw new SluiceError('SETUP', `change ${id} was taken back while what must work was tried`, {
        remedy: './sluice firewall audit tells by whom',
      });
    }
    try {
      if ('error' in trial) throw trial.error;
      const problem = await objection(nft, pending, this.#state.candidate(), this.#force);
      if (problem !== undefined) {
        throw new SluiceError('SETUP', `change ${id} does not hold: ${problem}`, {
          remedy: './sluice firewall apply applies it again',
        });
      }
      this.#goOn(pending);
      return trial.value;
    } catch (error) {
      throw await this.#takenBack(nft, this.#state.before(), error);
    }
  }

  /** From now on these are the rules to return to. Throws where that is too late, or the kernel holds something else. */
  async confirm(id: string, by: Actor = {}): Promise<void> {
    this.#state.prepare();
    using lock = await this.#changing();
    const nft = new Nft({ lock: lock.descriptor });
    const pending = mustWait(this.#waiting(), id);
    mustBeTried(pending);
    mustBeNew(pending, by);
    if (!this.#state.isLost(pending)) mustEnforce({ force: this.#force }, this.#state.candidate() ?? '');
    await by.intend?.({ change: id, rules: pending.rules });
    const document = this.#state.candidate();
    const problem = await objection(nft, pending, document, this.#force);
    if (problem !== undefined || document === undefined) {
      const error = new SluiceError('SETUP', `change ${id} cannot be confirmed: ${problem}`, {
        remedy: './sluice firewall apply applies it again',
      });
      throw await this.#takenBack(nft, this.#state.before(), error);
    }
    this.#state.confirm(document, this.#force.document(document));
    this.#state.end();
  }

  /** Back to the rules that were confirmed last, whether a change waits or somebody else was at the table. */
  async rollback(by: Actor = {}): Promise<RolledBack> {
    this.#state.prepare();
    using lock = await this.#changing();
    const nft = new Nft({ lock: lock.descriptor });
    const id = this.#waitingOrDamaged();
    // A start that closed is over when somebody says so.
    this.#state.open();
    const kept = this.#state.kept();
    if (kept === undefined && id === undefined) {
      throw new SluiceError(
        'SETUP',
        'no rules were ever confirmed, and no change waits: nothing to return to',
        {
          remedy: './sluice firewall apply, then confirm',
        },
      );
    }
    const before = this.#state.before();
    await by.intend?.({ ...(id !== undefined && { change: id }), rules: digest(before) });
    const brought = await this.#force.bring(nft, before);
    this.#state.end();
    this.#force.holdBoot();
    const isLost = this.#force.isAny && !enforces(before);
    return { id, to: heldBy(before, kept), isLost, damaged: this.#force.damaged(), ...brought };
  }

  /**
   * Takes back a change whose time was over `grace` ago, or that another start of the machine left, where its guards did
   * not do it; and one that nobody can confirm any more. Undefined where there was none.
   */
  async settle(grace: Duration, by: Actor = {}): Promise<Settled | undefined> {
    if (this.#overdue(grace) === undefined) return undefined;
    using lock = await this.#changing();
    const why = this.#overdue(grace);
    if (why === undefined) return undefined;
    // Undefined where it was confirmed by someone who was killed at it: then that is what has to hold.
    const id = this.#waitingOrDamaged();
    const before = this.#state.before();
    await by.intend?.({ ...(id !== undefined && { change: id }), rules: digest(before) });
    await this.#force.bring(new Nft({ lock: lock.descriptor }), before);
    if (before !== NO_RULES) this.#force.holdBoot();
    this.#state.end();
    return id === undefined ? undefined : { id, why };
  }

  /** The change that waits to be confirmed; undefined where none does, or its file is damaged. */
  waits(): string | undefined {
    try {
      return this.#state.pending()?.id;
    } catch {
      return undefined;
    }
  }

  /** Why a change has to be taken back that its guards left; undefined where it may wait. */
  #overdue(grace: Duration): string | undefined {
    let pending: Pending | undefined;
    try {
      pending = this.#state.pending();
    } catch {
      return 'nobody can know until when it waits';
    }
    if (pending === undefined) return undefined;
    if (pending.boot !== bootId() || sinceBoot() > pending.until + grace) return 'nobody confirmed';
    return this.#state.isLost(pending) ? 'nobody can confirm it, as its rules are damaged' : undefined;
  }

  /** What the kernel holds beside what it should, put right where `heal` says so; see inspect.ts. */
  async inspect(heal: (found: Found) => Promise<boolean>): Promise<Inspected | Unclear> {
    using lock = await this.#locked();
    const nft = new Nft({ lock: lock.descriptor });
    let isReopened = false;
    const inspected = await inspect(this.#facts, nft, async (found) => {
      isReopened = mayBeReopened(this.#facts, found) && (await saidSoon(() => this.#reopened()));
      return !isReopened && (await heal(found));
    });
    return isReopened ? await inspect(this.#facts, nft, heal) : inspected;
  }

  /** From now on nobody hears it and it reaches nobody, whatever its connections; also after a start of the machine. */
  async quarantine(
    meant: Meant,
    how: Because & { readonly lasts: Duration | undefined },
    by: Actor = {},
  ): Promise<Quarantined> {
    using ground = await this.#ground(by);
    return await quarantine(ground, meant, how);
  }

  async release(device: string, by: Actor = {}): Promise<Released> {
    using ground = await this.#ground(by);
    return await release(ground, device);
  }

  /** Releases those whose time is over; to be called every few seconds. */
  async sweep(by: Actor = {}): Promise<readonly Entry[]> {
    if (!this.#force.book.isDue()) return [];
    using ground = await this.#ground(by);
    return await releaseOverdue(ground);
  }

  /** Those in quarantine that use an address which is not; what goes there is cut from now on. As often as `sweep`. */
  async follow(by: Actor = {}): Promise<readonly Entry[]> {
    if (this.#force.quarantined.every(({ mac }) => mac === undefined)) return [];
    if ((await strangers(this.#facts)).length === 0) return [];
    using ground = await this.#ground(by);
    return await follow(ground);
  }

  /**
   * Writes what the disk did not take; true where it took it now. Throws where it does not. Until then whoever else loads
   * rules, such as the guards of a change, knows nothing of it, and it is loaded after them. To be called every second.
   */
  async keep(): Promise<boolean> {
    if (this.#force.owed === undefined) return false;
    using ground = await this.#ground({});
    const stamp = this.#state.stamp();
    const rules = current(this.#state);
    if (rules !== undefined && this.#owedFor !== stamp)
      await this.#force.load(new Nft({ lock: ground.lock.descriptor }), rules);
    this.#owedFor = stamp;
    this.#force.settle();
    this.#owedFor = undefined;
    return true;
  }

  /**
   * Cuts what only observing let in, once after each end of it; undefined where none has come since the last call. To be
   * called every second.
   */
  async endObserving(): Promise<Cut | undefined> {
    const now = epochMs(Date.now());
    this.#ends.know(this.#state.stamp(), () => this.policyInForce());
    if (!this.#ends.isDue(now)) return undefined;
    using held = new DisposableStack();
    held.use(await this.#locked());
    const rules = current(this.#state);
    const cut = rules === undefined ? undefined : await this.#force.cut(rules);
    this.#ends.tell(now);
    return cut;
  }

  /** What the rules were made of that hold, or wait; undefined where that is not known. */
  policyInForce(): Policy | undefined {
    const rules = current(this.#state);
    return rules === undefined ? undefined : this.#force.policyOf(rules);
  }

  /** Every conduit is cut, and stays so until `rejoin`. */
  async island(why: Because, by: Actor = {}): Promise<Islanded> {
    using ground = await this.#ground(by);
    return await island(ground, why);
  }

  async rejoin(by: Actor = {}): Promise<void> {
    using ground = await this.#ground(by);
    await rejoin(ground);
  }

  /** What is confirmed, and what the kernel holds where it may be asked. */
  async known(): Promise<Known> {
    return known(this.#looking());
  }

  /** What the kernel holds, beside what the policy declares while an island or a quarantine is in force. */
  async prove(policy: Policy): Promise<Proven> {
    return proven(this.#looking(), policy);
  }

  async status(policy: Policy | undefined): Promise<Status> {
    return status(this.#looking(), policy);
  }

  /** Whom the kernel holds longer than it should is told where it may be asked. */
  async quarantined(): Promise<Listing> {
    return quarantined(this.#looking());
  }

  #looking(): Looking {
    return { ...this.#facts, stays: this.#stays };
  }

  async #ground({ intend }: Actor): Promise<Ground & Disposable> {
    this.#state.prepare();
    const lock = await this.#changing();
    const end = (): void => lock[Symbol.dispose]();
    return { ...this.#looking(), lock, intend, [Symbol.dispose]: end };
  }

  /** Connections are cut only by rules that are proven. */
  async #loadProven(nft: Nft, document: string, policy: Policy): Promise<Brought & { readonly cut: Cut }> {
    const brought = await loadProven(this.#force, nft, document, policy);
    return { ...brought, cut: await this.#force.cut(document) };
  }

  async #locked(): Promise<Lock> {
    const lock = await lockOf(this.#state.folder, PATIENCE);
    this.#force.expect(undefined);
    this.#reopened();
    return lock;
  }

  /** For what changes rules: what somebody else changed before is told, though it is undone. */
  async #changing(): Promise<Lock> {
    const lock = await this.#locked();
    try {
      this.#force.expect(expected(this.#facts));
    } catch {
      // Whoever looks for what others change says why that is not known.
    }
    return lock;
  }

  /** Rules of ours that could not be loaded, or others that a change of ours undid: another text each time. */
  restless(): string | undefined {
    return this.#force.isStrange ? randomBytes(4).toString('hex') : this.#force.unloaded.text();
  }

  /** What changes of ours undid since this was asked last. */
  undone(): readonly Inspected[] {
    return this.#force.strange().map(undone);
  }

  /** A change that was confirmed by someone who was killed at it is no longer waiting. */
  #waiting(): Pending | undefined {
    const pending = this.#state.pending();
    const confirmed = pending && this.#state.confirmed();
    if (pending === undefined || confirmed === undefined || digest(confirmed) !== pending.rules)
      return pending;
    this.#state.end();
    return undefined;
  }

  #waitingOrDamaged(): string | undefined {
    try {
      return this.#waiting()?.id;
    } catch {
      return 'unknown';
    }
  }

  /** One that is overdue, because its guards were killed or the machine was started since, is taken back here. */
  async #refuseWhileWaiting(nft: Nft): Promise<void> {
    const pending = this.#waiting();
    if (pending === undefined) return;
    mustBeOver(pending);
    await this.#force.bring(nft, this.#state.before());
    this.#state.end();
  }

  /** The error that says what happened in the end. Where even this fails, the guards go on trying. */
  async #takenBack(nft: Nft, before: string, error: unknown): Promise<SluiceError> {
    const remedy = error instanceof SluiceError ? error.remedy : undefined;
    const tell = (end: string, hint: string | undefined): SluiceError =>
      new SluiceError('SETUP', `${errorText(error)}; ${end}`, {
        cause: error,
        ...(hint && { remedy: hint }),
      });
    try {
      await this.#force.bring(nft, before);
      this.#state.end();
      return tell(HELD[heldBy(before, this.#state.kept())], remedy);
    } catch (second) {
      return tell(`and it could not be taken back yet: ${errorText(second)}`, './sluice firewall status');
    }
  }
}

interface Asked {
  readonly within: Duration;
  readonly by: Actor;
  readonly work: MustWork | undefined;
}

interface Begun {
  readonly applied: Applied;
  /** What is still to be tried; undefined where nothing is. */
  readonly onTrial: { readonly id: string; readonly work: MustWork } | undefined;
}
