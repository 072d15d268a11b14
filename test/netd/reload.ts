// A program: node reload.ts METHOD TIMES SECONDS A.json B.json: brings the kernel, which holds A, from one to the other
// and back. Tells a JSON object.
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { bring } from '../../src/netd/bring.ts';
import { Nft } from '../../src/netd/nft.ts';

const [method = '', times = '', seconds = '', ...files] = process.argv.slice(2);
const documents = files.map((file) => readFileSync(file, 'utf8'));
const nft = new Nft();
const end = performance.now() + Number(seconds) * 1_000;
const told = { reloads: 0, elements: 0, rules: 0 };

const object = z.record(z.string(), z.unknown());
const command = z.record(z.string(), z.record(z.string(), object));
type Command = z.infer<typeof command>;
const commandsOf = (document: string): Command[] =>
  z.object({ nftables: z.array(command) }).parse(JSON.parse(document)).nftables;
/** The table stays, and its sets, which nothing is declared in. */
const stays = ({ add, delete: gone }: Command): boolean =>
  (add ?? gone)?.['table'] !== undefined || add?.['set'] !== undefined;

/** Everything out of chains and maps, and in again, in one transaction. */
function refilled(document: string): string {
  const both = documents.flatMap(commandsOf);
  const named = (kind: 'map' | 'chain'): object[] =>
    both.flatMap(({ add }) => {
      const { family, table, name } = add?.[kind] ?? {};
      return name === undefined ? [] : [{ flush: { [kind]: { family, table, name } } }];
    });
  // What the other document has alone has to be there before it can be flushed.
  const adds = both.flatMap(({ add }): object[] => {
    if (add?.['chain'] !== undefined || add?.['counter'] !== undefined) return [{ add }];
    const { elem: _, ...map } = add?.['map'] ?? {};
    return add?.['map'] === undefined ? [] : [{ add: { map } }];
  });
  const objects = commandsOf(document).filter((one) => !stays(one));
  return JSON.stringify({ nftables: [...adds, ...named('chain'), ...named('map'), ...objects] });
}

async function reload(document: string): Promise<void> {
  if (method === 'delta') {
    const { changes, replaces, complaints } = await bring(nft, document);
    if (replaces.length > 0 || complaints.length > 0)
      throw new Error([...replaces, ...complaints].join('; '));
    if (changes.elementsAdded + changes.elementsDeleted === 0) return;
    told.elements += 1;
    if (changes.chains > 0) told.rules += 1;
    return;
  }
  const failed = await nft.load(method === 'refill' ? refilled(document) : document);
  if (failed !== undefined) throw failed;
}

while (told.reloads < Number(times) && performance.now() < end) {
  await reload(documents[(told.reloads + 1) % documents.length] ?? '');
  told.reloads += 1;
}
console.log(JSON.stringify(told));
