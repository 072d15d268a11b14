import type { Duration } from '../core/units.ts';
import type { Changes } from '../segmentation/delta.ts';
import type { Proof } from '../segmentation/prove.ts';
import type { Shadow } from '../segmentation/shadow-path.ts';
import type { Brought } from './bring.ts';
import type { DriftTold } from './drift-book.ts';
import type { Cut } from './in-force.ts';
import type { Island } from './island.ts';
import type { Lack } from './probe.ts';
import type { Entry } from './quarantine-book.ts';
import type { Pending } from './state.ts';

// What whoever asked the firewall is told.

export interface Applied {
  /** Undefined where these rules were the confirmed ones: nothing waits. */
  readonly id: string | undefined;
  readonly within: Duration;
  readonly changes: Changes;
  readonly replaces: readonly string[];
  readonly complaints: readonly string[];
  readonly cut: Cut;
  /** Nothing was ever confirmed: without confirmation the table is taken away again. */
  readonly first: boolean;
  /** Nothing was, but there were rules in the kernel: without confirmation all but management is closed. */
  readonly closes?: boolean;
  /** Devices that must-work means, and that did not answer until it was satisfied. */
  readonly unanswered?: readonly string[];
}

export interface RolledBack extends Brought {
  /** The change that was taken back, if one waited. */
  readonly id: string | undefined;
  /** What holds now: the confirmed rules, or what there is before any were, or where none can be read. */
  readonly to: 'confirmed' | 'closed' | 'nothing';
  /** Somebody is in quarantine, or the gateway an island, and what holds now enforces none of it. */
  readonly isLost: boolean;
  readonly damaged: readonly string[];
  readonly cut: Cut;
}

/** A change that was taken back by itself. */
export interface Settled {
  readonly id: string;
  readonly why: string;
}

export interface Proven {
  readonly proof: Proof;
  /** Is there a table inet sluice at all? */
  readonly loaded: boolean;
  /** Its conduits are not declared while it lasts. */
  readonly island: Island | undefined;
}

export interface Status extends Pick<Proven, 'island'> {
  /** Undefined where nft does not even tell that. */
  readonly nft: string | undefined;
  /** Why nft does not tell what the kernel holds, or lacks; undefined where it does. */
  readonly trouble: string | undefined;
  /** Undefined where what the kernel holds, or what its rules were made of, is not known. */
  readonly proof: Proof | undefined;
  readonly lacks: readonly Lack[];
  /** What the kernel holds, compared with what is known here. */
  readonly kernel: 'confirmed' | 'closed' | 'waiting' | 'nothing' | 'something else' | 'unknown';
  readonly pending:
    | (Pick<Pending, 'id' | 'tried'> & { readonly left: Duration; readonly guards: number })
    | undefined;
  readonly everConfirmed: boolean;
  readonly quarantined: readonly Entry[];
  /** Does the kernel hold rules that enforce that? Undefined where it is not known. */
  readonly isEnforced: boolean | undefined;
  /** That some of it is not on the disk, and what follows. */
  readonly notKept: string | undefined;
  /** What on the disk cannot be read, and what is gone by instead. */
  readonly damaged: readonly string[];
  /** What undermines the rules although they hold. */
  readonly shadows: readonly Shadow[];
  readonly drift: DriftTold;
}

/** Who is in quarantine; whether the kernel holds rules that enforce it, where it could be asked. */
export interface Listing {
  readonly entries: readonly Entry[];
  readonly isEnforced: boolean | undefined;
}

/** What a plan is compared with. */
export interface Known {
  readonly confirmed:
    | {
        readonly rules: string;
        readonly digest: string;
        /** Text of the policy they were made of, where it is known. */
        readonly policy: string | undefined;
      }
    | undefined;
  /** The change that waits to be confirmed, if one does. */
  readonly waiting: string | undefined;
  /** What it lists; `confirmed` also where nothing was, and it holds nothing. */
  readonly kernel:
    | 'not permitted'
    | { readonly listing: string | undefined; readonly holds: Status['kernel'] };
}
