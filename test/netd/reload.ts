// A program: node reload.ts TIMES A.json B.json: brings the kernel from one to the other and back.
import { readFileSync } from 'node:fs';
import { bring } from '../../src/netd/bring.ts';
import { Nft } from '../../src/netd/nft.ts';

const [times = '', ...files] = process.argv.slice(2);
const documents = files.map((file) => readFileSync(file, 'utf8'));
const nft = new Nft();
let changed = 0;
for (let i = 0; i < Number(times); i += 1) {
  const { changes, replaces, complaints } = await bring(nft, documents[i % documents.length] ?? '');
  if (replaces.length > 0 || complaints.length > 0) throw new Error([...replaces, ...complaints].join('; '));
  if (changes.elementsAdded + changes.elementsDeleted > 0 && changes.chains > 0) changed += 1;
}
console.log(changed);
