import { visible } from '../core/visible.ts';
import { type Applied, Firewall, type Status } from '../netd/firewall.ts';
import { declaredPolicy } from './declared-policy.ts';
import { loadConfig } from './load.ts';
import { oneFile, usage } from './options.ts';

// What changes the rules of this machine, and how it stands.

export type Changing = 'apply' | 'confirm' | 'rollback' | 'status';

export async function runChange(verb: Changing, args: readonly string[], json: boolean): Promise<number> {
  const print = (machine: object, person: string): void => {
    process.stdout.write(json ? `${JSON.stringify(machine)}\n` : person);
  };
  const [first = '', ...others] = args;
  const file = oneFile(`firewall ${verb}`, verb === 'confirm' ? others : args);
  if (verb === 'confirm' && !/^[0-9a-f]{8}$/.test(first)) {
    throw usage(
      'firewall',
      'firewall confirm wants the change that apply named, as in: firewall confirm 5f3a90c2',
    );
  }
  const { gateway, segmentation } = await loadConfig(file);
  const firewall = new Firewall(gateway.data);
  switch (verb) {
    case 'apply': {
      const applied = await firewall.apply(await declaredPolicy(file), segmentation.confirmWithin);
      print(appliedFor(applied), appliedText(applied));
      return 0;
    }
    case 'confirm':
      await firewall.confirm(first);
      print({ id: first, confirmed: true }, `confirmed: change ${first} holds from now on\n`);
      return 0;
    case 'rollback': {
      const { id, ...brought } = await firewall.rollback();
      const taken = id === undefined ? '' : `; change ${id} is taken back`;
      print(
        { id: id ?? null, ...howFor(brought) },
        `the rules that were confirmed last hold${taken}\n${howText(brought)}`,
      );
      return 0;
    }
    case 'status': {
      const status = await firewall.status(await declaredPolicy(file));
      print(statusFor(status), statusText(status));
      return status.kernel === 'confirmed' && status.proof.proven ? 0 : 1;
    }
    default:
      return verb satisfies never;
  }
}

type How = Pick<Applied, 'changes' | 'replaces' | 'complaints'>;

function howFor({ changes, replaces, complaints }: How): object {
  return {
    chains: changes.chains,
    'elements-added': changes.elementsAdded,
    'elements-deleted': changes.elementsDeleted,
    'objects-added': changes.objectsAdded,
    'objects-deleted': changes.objectsDeleted,
    replaced: replaces,
    complaints,
  };
}

function howText({ changes, replaces, complaints }: How): string {
  const { chains, elementsAdded, elementsDeleted, objectsAdded, objectsDeleted } = changes;
  const counts = [
    [chains, 'chains written'],
    [elementsAdded, 'elements added'],
    [elementsDeleted, 'elements deleted'],
    [objectsAdded, 'objects added'],
    [objectsDeleted, 'objects deleted'],
  ] as const;
  const some = counts.filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}`);
  const how =
    replaces.length > 0
      ? `the whole table is replaced: ${replaces.join('; ')}`
      : some.join(', ') || 'nothing differed';
  const said = complaints.map(
    (complaint) => `  nft complained, and the kernel was read back: ${visible(complaint)}\n`,
  );
  return `  ${visible(how)}\n${said.join('')}`;
}

function appliedFor({ id, within, first, ...how }: Applied): object {
  return {
    id: id ?? null,
    'confirm-within-ms': id === undefined ? null : within,
    first: first,
    ...howFor(how),
  };
}

function appliedText({ id, within, first, ...how }: Applied): string {
  if (id === undefined) return `these rules are confirmed already, and hold, proven\n${howText(how)}`;
  const back = first
    ? 'taken away, as there were none confirmed before'
    : 'taken back to the ones confirmed before';
  return `applied and proven: change ${id}
${howText(how)}
  Unless it is confirmed within ${within / 1_000} s, the rules are ${back}. Open a new connection to this gateway, and say there:
  ./sluice firewall confirm ${id}
`;
}

const KERNEL: Readonly<Record<Status['kernel'], string>> = {
  confirmed: 'the kernel holds the rules that were confirmed',
  waiting: 'the kernel holds rules that wait to be confirmed',
  nothing: 'the kernel holds no rules of Sluice',
  'something else':
    'the kernel holds something else than the rules that were confirmed: ./sluice firewall rollback restores them',
};

function statusFor({ nft, lacks, kernel, proof, pending, everConfirmed }: Status): object {
  return {
    nft,
    kernel,
    proven: proof.proven,
    'ever-confirmed': everConfirmed,
    pending:
      pending === undefined ? null : { id: pending.id, 'left-ms': pending.left, guards: pending.guards },
    lacks,
  };
}

function statusText({ nft, lacks, kernel, proof, pending, everConfirmed }: Status): string {
  const lines = [
    KERNEL[kernel],
    ...(everConfirmed ? [] : ['no rules were ever confirmed']),
    proof.proven
      ? 'proven: it accepts exactly what the configuration declares'
      : 'it does not accept exactly what the configuration declares: ./sluice firewall prove tells the packets',
    ...(pending === undefined ? [] : [pendingText(pending)]),
    `nft ${nft}`,
    ...lacks.map(({ name, follows, says }) => visible(`this kernel lacks ${name}: ${follows} (${says})`)),
  ];
  return `${lines.join('\n')}\n`;
}

function pendingText({ id, left, guards }: NonNullable<Status['pending']>): string {
  const watched =
    guards === 0 ? 'and nobody is left to do it: ./sluice firewall rollback' : `by ${guards} processes`;
  return `change ${id} is rolled back in ${Math.ceil(left / 1_000)} s unless it is confirmed, ${watched}`;
}
