// A program: node trick.ts SOCKET UID TRICK [FOLDER]. Becomes UID, connects, answers the challenge as TRICK says, and
// prints what it is told. FOLDER is its own, with a file `bait` that root made there.
import {
  chmodSync,
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  renameSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { execFileSync } from 'node:child_process';
import { connect } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { identityOf, proofFolder } from '../../src/netd/peer.ts';

const [socket = '', uid = '', trick = '', folder = ''] = process.argv.slice(2);
const bait = join(folder, 'bait');
process.setgroups?.([]);
process.setgid?.(Number(uid));
process.setuid?.(Number(uid));
process.umask(0o022);

type Trick = (place: string, content: string) => void;
const honest: Trick = (place, content) => writeFileSync(place, content, { mode: 0o444, flag: 'wx' });
const TRICKS: Readonly<Record<string, Trick>> = {
  honest,
  none: () => {},
  symlink: (place, content) => {
    writeFileSync(bait, content);
    symlinkSync(bait, place);
  },
  'hard link': (place, content) => {
    writeFileSync(bait, content);
    linkSync(bait, place);
  },
  rename: (place, content) => {
    writeFileSync(bait, content);
    renameSync(bait, place);
  },
  'written before': (place, content) => {
    // Opened while it was open to all; closed to others since.
    const file = openSync(bait, 'r+');
    writeSync(file, content);
    closeSync(file);
    execFileSync('sh', ['-c', `while [ "$(stat -c %a "$0")" != 444 ]; do sleep 0.05; done`, bait]);
    renameSync(bait, place);
  },
  pipe: (place) => execFileSync('mkfifo', [place]),
  folder: (place) => mkdirSync(place),
  'for another socket': (place, content) => honest(place, content.replace(/ .*/, ' 1:1')),
  'open to others': (place, content) => {
    honest(place, content);
    chmodSync(place, 0o666);
  },
};

const connection = connect(socket);
connection.on('error', (error) => console.log(JSON.stringify({ ok: false, error: String(error) })));
const lines = createInterface({ input: connection });
let first = true;
lines.on('line', (line) => {
  if (!first) {
    console.log(line);
    connection.end();
    return;
  }
  first = false;
  const [, word = ''] = /"challenge":"([0-9a-f]+)"/.exec(line) ?? [];
  const act = TRICKS[trick];
  if (act === undefined) throw new Error(`no trick ${trick}`);
  act(join(proofFolder(socket), word), `${word} ${identityOf(socket)}\n`);
  connection.write('{"v":1,"verb":"status"}\n');
});
