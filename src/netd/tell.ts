import { counted } from '../core/counted.ts';
import { errorText, SluiceError } from '../core/errors.ts';
import type { Applied, RolledBack, Status } from './outcome.ts';
import { visible } from '../core/visible.ts';
import { filteredText } from '../segmentation/filter-text.ts';
import { cutText, isUnenforced, measuresFor, measuresLines } from './tell-measures.ts';
import { isUndermined, underminingFor, underminingLines } from './tell-shadow.ts';

// What came of a request, for programs and for people: the same over the socket as without it.

export interface Told {
  /** What --json prints. */
  readonly result: object;
  readonly text: string;
  /** Done, or as it should be. */
  readonly good: boolean;
}

/** The same of one that failed: what --json prints, and what goes over the socket. */
export const failed = (error: string, remedy?: string, code = 'USAGE'): object => ({
  ok: false,
  code,
  error,
  ...(remedy !== undefined && { remedy }),
});

export const failureFor = (error: unknown): object =>
  error instanceof SluiceError
    ? failed(error.message, error.remedy, error.code)
    : failed(errorText(error), undefined, 'BUG');

export const appliedTold = (applied: Applied): Told => ({
  result: appliedFor(applied),
  text: appliedText(applied),
  good: true,
});

export const confirmedTold = (id: string): Told => ({
  result: { id, confirmed: true },
  text: `confirmed: change ${id} holds from now on\n`,
  good: true,
});

const RETURNED: Readonly<Record<RolledBack['to'], string>> = {
  confirmed: 'the rules that were confirmed last hold',
  closed: 'there are no confirmed rules to load: all but management is closed',
  nothing: 'no rules were ever confirmed: none are loaded',
};

const LOST = `  warning: nothing enforces any more who is in quarantine, or that the gateway is an island: ./sluice firewall status
`;

export function rolledBackTold({ id, to, isLost, damaged, ...how }: RolledBack): Told {
  const taken = id === undefined ? '' : `; change ${id} is taken back`;
  const lost = damaged.map((what) => `  damaged: ${visible(what)}\n`);
  return {
    result: { id: id ?? null, to, enforced: !isLost, damaged, ...howFor(how) },
    text: `${RETURNED[to]}${taken}\n${lost.join('')}${howText(how)}${isLost ? LOST : ''}`,
    good: true,
  };
}

/** `wrong` is why the file is not what the rules are compared with. */
export const statusTold = (status: Status, wrong?: string): Told => ({
  result: { ...statusFor(status), 'wrong-file': wrong ?? null },
  text: statusText(status, wrong),
  good:
    wrong === undefined &&
    status.trouble === undefined &&
    status.kernel === 'confirmed' &&
    status.proof?.proven === true &&
    status.damaged.length === 0 &&
    !isUnenforced(status) &&
    !isUndermined(status),
});

type How = Pick<Applied, 'changes' | 'replaces' | 'complaints' | 'cut'>;

function howFor({ changes, replaces, complaints, cut }: How): object {
  return {
    chains: changes.chains,
    'elements-added': changes.elementsAdded,
    'elements-deleted': changes.elementsDeleted,
    'objects-added': changes.objectsAdded,
    'objects-deleted': changes.objectsDeleted,
    replaced: replaces,
    complaints,
    cut: cut.connections,
    'not-cut': cut.problem ?? null,
  };
}

function howText({ changes, replaces, complaints, cut }: How): string {
  const { chains, elementsAdded, elementsDeleted, objectsAdded, objectsDeleted } = changes;
  const counts = [
    [chains, 'chain', 'written'],
    [elementsAdded, 'element', 'added'],
    [elementsDeleted, 'element', 'deleted'],
    [objectsAdded, 'object', 'added'],
    [objectsDeleted, 'object', 'deleted'],
  ] as const;
  const some = counts
    .filter(([count]) => count > 0)
    .map(([count, noun, done]) => `${counted(count, noun)} ${done}`);
  const how =
    replaces.length > 0
      ? `the whole table is replaced: ${replaces.join('; ')}`
      : some.join(', ') || 'nothing differed';
  const said = complaints.map(
    (complaint) => `  nft complained, and the kernel was read back: ${visible(complaint)}\n`,
  );
  return `  ${visible(how)}\n${said.join('')}${cutText(cut)}`;
}

function appliedFor({ id, within, first, closes = false, unanswered = [], ...how }: Applied): object {
  return {
    id: id ?? null,
    'confirm-within-ms': id === undefined ? null : within,
    first,
    closes,
    unanswered,
    ...howFor(how),
  };
}

function appliedText({ id, within, first, closes = false, unanswered = [], ...how }: Applied): string {
  if (id === undefined) return `these rules are confirmed already, and hold, proven\n${howText(how)}`;
  const back = closes
    ? 'replaced by ones that let nothing but management through, as nobody here knows which held before'
    : first
      ? 'taken away, as there were none confirmed before'
      : 'taken back to the ones confirmed before';
  return `applied and proven: change ${id}
${howText(how)}${unanswered.length === 0 ? '' : `  did not answer yet: ${unanswered.map(visible).join(', ')}\n`}
  Unless it is confirmed within ${within / 1_000} s, the rules are ${back}. Open a new connection to this gateway, and say there:
  ./sluice firewall confirm ${id}
`;
}

function kernelText({
  kernel,
  everConfirmed,
  pending,
}: Pick<Status, 'kernel' | 'everConfirmed' | 'pending'>): string {
  if (kernel === 'confirmed') return 'the kernel holds the rules that were confirmed';
  if (kernel === 'closed') return 'the kernel holds rules that let nothing but management through';
  if (kernel === 'waiting') return 'the kernel holds rules that wait to be confirmed';
  if (kernel === 'unknown') return 'what the kernel holds is not known, as nft does not tell it';
  if (kernel === 'nothing') return 'the kernel holds no rules of Sluice';
  if (everConfirmed)
    return 'the kernel holds something else than the rules that were confirmed: ./sluice firewall rollback restores them';
  return pending === undefined
    ? 'the kernel holds rules that were never confirmed here: ./sluice firewall apply, then confirm, puts the declared ones in their place'
    : 'the kernel holds something else than the rules that wait to be confirmed: ./sluice firewall rollback takes it away';
}

function statusFor({
  nft,
  trouble,
  lacks,
  kernel,
  proof,
  pending,
  everConfirmed,
  damaged,
  ...now
}: Status): object {
  return {
    nft: nft ?? null,
    trouble: trouble ?? null,
    kernel,
    proven: proof?.proven ?? false,
    filtered: proof?.proven === true ? proof.filtered : [],
    'ever-confirmed': everConfirmed,
    damaged,
    pending:
      pending === undefined
        ? null
        : { id: pending.id, 'left-ms': pending.left, guards: pending.guards, tried: pending.tried },
    ...measuresFor(now),
    ...underminingFor(now),
    lacks,
  };
}

function statusText(
  { nft, trouble, lacks, kernel, proof, pending, everConfirmed, damaged, ...now }: Status,
  wrong: string | undefined,
): string {
  const lines = [
    kernelText({ kernel, everConfirmed, pending }),
    ...damaged.map((what) => `damaged: ${visible(what)}`),
    ...measuresLines(now),
    ...underminingLines(now),
    ...(everConfirmed ? [] : ['no rules were ever confirmed']),
    ...(wrong === undefined ? [] : [visible(`the configuration cannot be gone by just now: ${wrong}`)]),
    ...proofLines(proof, { kernel, wrong }),
    ...(pending === undefined ? [] : [pendingText(pending)]),
    ...(trouble === undefined ? [] : [visible(trouble)]),
    ...(nft === undefined ? [] : [`nft ${nft}`]),
    ...lacks.map(({ name, follows, says }) => visible(`this kernel lacks ${name}: ${follows} (${says})`)),
  ];
  return `${lines.join('\n')}\n`;
}

function proofLines(
  proof: Status['proof'],
  { kernel, wrong }: { readonly kernel: Status['kernel']; readonly wrong: string | undefined },
): string[] {
  if (kernel === 'unknown') return [];
  if (proof === undefined) return ['not proven: what the rules in force were made of is not known'];
  const declared = wrong === undefined ? 'the configuration declares' : 'was declared when they were applied';
  if (!proof.proven) {
    const says = `it does not accept exactly what ${declared}`;
    return [wrong === undefined ? `${says}: ./sluice firewall prove tells the packets` : says];
  }
  const filtered = proof.filtered.length > 0 ? [filteredText(proof.filtered)] : [];
  return [`proven: it accepts exactly what ${declared}`, ...filtered];
}

function pendingText({ id, left, guards, tried }: NonNullable<Status['pending']>): string {
  const watched =
    guards === 0
      ? 'and nobody is left to do it: ./sluice firewall rollback'
      : `by ${counted(guards, 'process', 'processes')}`;
  const yet = tried ? '' : '; what must work was not seen to work yet, and before that nobody confirms it';
  return `change ${id} is rolled back in ${Math.ceil(left / 1_000)} s unless it is confirmed, ${watched}${yet}`;
}
