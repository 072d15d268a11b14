import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import t from 'tap';
import { long } from '../support/long.ts';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { until } from '../support/wait.ts';
import { Bed } from './bed.ts';
import { AFTER } from './plants.ts';
import { said } from './said.ts';

// Who is at the other end of the socket, and everything that somebody else could try to be taken for them.

const notRoot = process.getuid?.() !== 0 && 'only root can be several users';
const skip =
  noRules() || missingPeer('nsenter', 'util-linux') || missingPeer('flock', 'util-linux') || notRoot;
const PERMITTED = 61_001;
const STRANGER = 61_000;
const FOREIGN_OWNER = 0;
t.jobs = 2;

/** netd that PERMITTED may ask, in a folder that everybody may pass through. */
async function listening(t: Parameters<typeof Bed.make>[0], ...more: readonly string[]): Promise<Bed> {
  const bed = await Bed.make(t);
  chmodSync(bed.folder, 0o711);
  bed.declare(AFTER);
  await bed.netd('--allow-uid', String(PERMITTED), ...more);
  return bed;
}

interface Try {
  readonly uid: number;
  readonly trick: string;
}

/** What netd said to it. `bait` is a file of root in a folder of the trickster. */
async function tried(bed: Bed, { uid, trick }: Try): Promise<string> {
  const folder = join(bed.folder, `${uid}-${trick.replaceAll(' ', '-')}`);
  mkdirSync(folder);
  chownSync(folder, uid, uid);
  const bait = join(folder, 'bait');
  writeFileSync(bait, '');
  chownSync(bait, FOREIGN_OWNER, 0);
  chmodSync(bait, 0o666);
  const program = new URL('./trick.ts', import.meta.url).pathname;
  // By way of env: what tap adds to a Node that it sees would write to a folder of root.
  const child = spawn('env', [process.execPath, program, bed.socket, String(uid), trick, folder], {
    env: { PATH: process.env['PATH'] },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (trick === 'written before') {
    await until('a bait that is written', () => statSync(bait).size > 0);
    chmodSync(bait, 0o444);
  }
  return text(child.stdout);
}

t.test('who is permitted is answered, by uid and by group', { skip }, async (t) => {
  const bed = await listening(t);
  t.equal(statSync(bed.socket).mode & 0o7777, 0o666);
  t.equal(statSync(`${bed.socket}.proof`).mode & 0o7777, 0o1733, 'made there, never listed, nor taken away');
  t.match(await tried(bed, { uid: PERMITTED, trick: 'honest' }), /"ok":true.*"kernel":"nothing"/);
  t.match(await tried(bed, { uid: 0, trick: 'honest' }), /"ok":true/);
  const audit = readFileSync(join(bed.state, 'audit.jsonl'), 'utf8');
  t.match(audit, new RegExp(`"uid":${PERMITTED},"user":"${PERMITTED}","via":"socket","verb":"status"`));
});

t.test('without others to ask, nobody else can even connect', { skip }, async (t) => {
  const bed = await Bed.make(t);
  chmodSync(bed.folder, 0o711);
  bed.declare(AFTER);
  await bed.netd();

  t.equal(statSync(bed.socket).mode & 0o7777, 0o600);
  t.equal(statSync(join(bed.folder, 's')).mode & 0o7777, 0o700);
  t.match(await tried(bed, { uid: STRANGER, trick: 'none' }), /EACCES/);
});

t.test('a group may ask, and others cannot even connect', { skip }, async (t) => {
  const bed = await Bed.make(t);
  chmodSync(bed.folder, 0o711);
  bed.declare(AFTER);
  await bed.netd('--allow-group', 'daemon');

  const { gid, mode } = statSync(bed.socket);
  t.equal(mode & 0o7777, 0o660);
  t.equal(gid, statSync(`${bed.socket}.proof`).gid);
  t.not(gid, 0);
  t.match(await tried(bed, { uid: STRANGER, trick: 'none' }), /EACCES/);
});

t.test('no trick makes a stranger somebody else', { skip: skip || long }, async (t) => {
  const bed = await listening(t);
  const cases: readonly (Try & { readonly says: RegExp })[] = [
    { uid: STRANGER, trick: 'honest', says: /user 61000 may not ask/ },
    { uid: STRANGER, trick: 'none', says: /the proof cannot be read: ENOENT/ },
    { uid: STRANGER, trick: 'symlink', says: /cannot be read: ELOOP/ },
    { uid: STRANGER, trick: 'hard link', says: /the proof has 2 names/ },
    { uid: STRANGER, trick: 'rename', says: /others than its owner may write to the proof/ },
    { uid: STRANGER, trick: 'written before', says: /the proof was not made for this/ },
    { uid: STRANGER, trick: 'pipe', says: /no regular file/ },
    { uid: STRANGER, trick: 'folder', says: /no regular file/ },
    { uid: PERMITTED, trick: 'for another socket', says: /says something else/ },
    { uid: PERMITTED, trick: 'open to others', says: /others than its owner may write/ },
  ];

  for (const one of cases) {
    const said = await tried(bed, one);
    t.match(said, /"ok":false/, one.trick);
    t.match(said, one.says);
  }

  const audit = readFileSync(join(bed.state, 'audit.jsonl'), 'utf8');
  for (const { says } of cases) t.match(audit, says, 'it is in the audit');
  t.match(audit, /"uid":61000,"user":"61000","via":"socket","verb":"connect","outcome":"refused"/);
});

t.test('nobody touches the proof of another', { skip: skip || long }, async (t) => {
  const bed = await listening(t);
  const proof = join(`${bed.socket}.proof`, 'a'.repeat(32));
  writeFileSync(proof, '');
  chownSync(proof, PERMITTED, PERMITTED);

  for (const act of [
    `rm -f ${proof}`,
    `mv ${proof} ${proof}b`,
    `echo x >${proof}`,
    `ls ${bed.socket}.proof`,
  ]) {
    const { status } = spawnSync(
      'setpriv',
      ['--reuid', String(STRANGER), '--regid', String(STRANGER), '--clear-groups', 'sh', '-c', act],
      { cwd: '/' },
    );
    t.not(status, 0, act);
  }
});

t.test('what is not a request is refused, and said to the audit', { skip: skip || long }, async (t) => {
  const bed = await listening(t);
  const cases: readonly (readonly [line: string, says: RegExp])[] = [
    ['hello\n', /this is not JSON/],
    ['[]\n', /a request is a JSON object/],
    ['{"verb":"status"}\n', /"v\\" has to be 1/],
    ['{"v":1,"verb":"flush"}\n', /has to be one of plan, apply, /],
    ['{"v":1,"verb":"apply","rules":{"nftables":[]}}\n', /apply takes no /],
    ['{"v":1,"verb":"apply","config":"/tmp/mine.yaml"}\n', /apply takes no /],
    ['{"v":1,"verb":"confirm"}\n', /confirm needs /],
    ['{"v":1,"verb":"confirm","change":"../../etc"}\n', /eight digits/],
    ['{"v":1,"verb":"status","person":7}\n', /has to be a text/],
    ['{"v":1,"verb":"status","__proto__":{"x":1}}\n', /takes no/],
    [`{"v":1,"verb":"status","person":"${'x'.repeat(5_000)}"}\n`, /longer than 4096 bytes/],
    ['x'.repeat(5_000), /longer than 4096 bytes/],
  ];

  for (const [line, says] of cases) t.match(await said(bed, line), says, line.slice(0, 50));
  const audit = readFileSync(join(bed.state, 'audit.jsonl'), 'utf8');
  t.match(audit, /a request that is none: this is not JSON/);
  t.equal(await bed.listing(), undefined, 'nothing was changed');
});
