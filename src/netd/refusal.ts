import { SluiceError } from '../core/errors.ts';
import { blame, commandsIn, documentOf, withElements } from '../segmentation/blame.ts';
import type { Policy } from '../segmentation/policy.ts';
import { isTrouble, type Nft, roomFor } from './nft.ts';

/** Rules that nft or the kernel does not take, with the place in gateway.yaml that they were made for. */
export class RulesRefused extends SluiceError {
  /** As in `conduits[0]`. */
  readonly path: string;
  readonly says: string;

  constructor(path: string, place: string | undefined, says: string, cause: unknown) {
    const where = place === undefined ? path : `${place}: ${path}`;
    super('SETUP', `${where}: the kernel refuses the rules that were made of it: ${says}`, {
      cause,
      remedy: `nothing was changed; ${roomFor(says) ?? 'say it in another way, and report it with the output of ./sluice firewall render'}`,
    });
    this.path = path;
    this.says = says;
  }
}

/**
 * The kernel says no to a whole transaction and not which part of it: the shortest beginning of it that is refused ends
 * with the command, and the element, to blame. Nothing is committed. Undefined where nobody in particular is to blame.
 */
export async function refusalOf(
  nft: Nft,
  document: string,
  policy: Policy,
  cause: SluiceError,
): Promise<RulesRefused | undefined> {
  if (!isTrouble(cause, 'says no')) return undefined;
  try {
    return await blamed(nft, document, policy, cause);
  } catch (error) {
    // An nft that dies or hangs while it is asked blames nobody.
    if (error instanceof SluiceError) return undefined;
    throw error;
  }
}

async function blamed(
  nft: Nft,
  document: string,
  policy: Policy,
  cause: SluiceError,
): Promise<RulesRefused | undefined> {
  const commands = commandsIn(document);
  const refused = async (some: readonly unknown[]): Promise<boolean> => {
    try {
      await nft.check(documentOf(some));
      return false;
    } catch (error) {
      if (!isTrouble(error, 'says no')) throw error;
      return true;
    }
  };
  const first = await shortest(commands.length, async (count) => refused(commands.slice(0, count)));
  if (first === undefined) return undefined;
  const guilty = commands[first - 1];
  const before = commands.slice(0, first - 1);
  const elements = withElements(guilty);
  if (elements === undefined || !(await refused(before.concat([guilty]))))
    return told(blame(guilty, policy), policy, cause);
  const count = await shortest(elements.elements, async (some) =>
    refused([...before, withElements(guilty, some)?.command]),
  );
  const element = count === undefined ? undefined : withElements(guilty, count)?.last;
  return told(blame(element ?? guilty, policy) ?? blame(guilty, policy), policy, cause);
}

const told = (path: string | undefined, policy: Policy, cause: SluiceError): RulesRefused | undefined =>
  path === undefined ? undefined : new RulesRefused(path, policy.placeOf?.(path), cause.message, cause);

/** The smallest number, from 1 to `most`, that is refused; whatever contains it is refused too. */
async function shortest(
  most: number,
  refused: (count: number) => Promise<boolean>,
): Promise<number | undefined> {
  let [low, high] = [1, most];
  if (most < 1 || !(await refused(most))) return undefined;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (await refused(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}
