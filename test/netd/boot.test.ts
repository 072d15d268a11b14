import {
  chownSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { long } from '../support/long.ts';
import { holds } from '../../src/netd/bring.ts';
import { DriftBook } from '../../src/netd/drift-book.ts';
import { sealed } from '../../src/netd/sealed.ts';
import { State } from '../../src/netd/state.ts';
import { closedRulesOf, rulesOf } from '../segmentation/policies.ts';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { REPOSITORY } from '../support/process.ts';
import { until } from '../support/wait.ts';
import { Bed, type Ran } from './bed.ts';
import { confirmed } from './change.ts';
import { AFTER, BEFORE } from './plants.ts';

// What the machine loads before its network comes up: the shell script alone, in a network namespace of its own.

const notRoot = process.getuid?.() !== 0 && 'only real root tells the files of others apart';
const skip = noRules() || missingPeer('nsenter', 'util-linux') || notRoot;
const SCRIPT = join(REPOSITORY, 'deploy/firewall-boot.sh');
const SHUT = closedRulesOf(BEFORE);
t.jobs = 2;

/** BEFORE was applied and confirmed; the machine has just been started, and holds nothing. */
async function started(t: Test): Promise<Bed> {
  const bed = await confirmed(t);
  bed.declare(BEFORE);
  new State(join(bed.folder, 'data')).keepClosed(SHUT);
  await bed.run('nft', 'delete', 'table', 'inet', 'sluice');
  return bed;
}

const boot = async (bed: Bed): Promise<Ran> =>
  bed.run('sh', SCRIPT, bed.state, join(bed.folder, 'run/boot.json'));
const report = (bed: Bed): string => readFileSync(join(bed.folder, 'run/boot.json'), 'utf8');
const isShut = async (bed: Bed): Promise<boolean> => holds(await bed.listing(), SHUT);

t.test('the rules that were confirmed last are loaded', { skip }, async (t) => {
  const bed = await started(t);

  t.match(await boot(bed), {
    status: 0,
    stderr: /^<6>sluice-firewall: the rules that were confirmed last are loaded\n$/,
  });

  t.ok(await bed.holds(BEFORE));
  t.match(JSON.parse(report(bed)), { outcome: 'confirmed' });
  t.match(await bed.firewall('status'), { status: 0, stdout: /holds the rules that were confirmed/ });
});

t.test('where nothing was ever confirmed the network stays as it is', { skip }, async (t) => {
  const bed = await Bed.make(t);

  t.match(await boot(bed), { status: 0, stderr: /<6>.*no rules were ever confirmed on this machine/ });
  mkdirSync(bed.state, { mode: 0o700 });
  writeFileSync(join(bed.state, 'pending.json'), '{}');
  t.match(await boot(bed), { status: 0, stderr: /no rules were ever confirmed on this machine/ });

  t.equal(await bed.listing(), undefined);
  t.match(report(bed), /"outcome":"none"/);
});

t.test('a power cut between apply and confirmation ends in what was confirmed', { skip }, async (t) => {
  const bed = await started(t);
  bed.declare(AFTER);
  t.equal((await bed.firewall('apply')).status, 0);
  bed.killGuards();
  t.equal(readFileSync(join(bed.state, 'candidate-closed.json'), 'utf8'), sealed(SHUT));
  await bed.run('nft', 'delete', 'table', 'inet', 'sluice');
  const pending = join(bed.state, 'pending.json');
  writeFileSync(pending, readFileSync(pending, 'utf8').replace(/"boot": "[^"]*"/, '"boot": "before"'));

  t.equal((await boot(bed)).status, 0);
  t.ok(await bed.holds(BEFORE));
  const netd = await bed.netd();
  await netd.says(/rolled back: nobody confirmed/);

  t.notOk(existsSync(pending), 'nothing waits any more');
  t.ok(await bed.holds(BEFORE));
});

t.test(
  'what is missing, damaged, refused or of others is not loaded: management alone',
  { skip },
  async (t) => {
    const bed = await started(t);
    const file = join(bed.state, 'boot.json');
    const whole = readFileSync(file, 'utf8');
    const refused = sealed(
      '{"nftables":[\n{"add":{"table":{"family":"inet","name":"sluice"}}},\n{"add":{"element":{"family":"inet","table":"sluice","name":"m_none","elem":["a"]}}}\n]}\n',
    );
    const cases: readonly (readonly [name: string, spoil: () => void, says: RegExp])[] = [
      ['missing', () => rmSync(file), /boot.json is missing/],
      ['truncated', () => writeFileSync(file, whole.slice(0, -40)), /boot.json is damaged/],
      ['empty', () => writeFileSync(file, ''), /boot.json is damaged/],
      [
        'another byte',
        () => writeFileSync(file, whole.replace('10.20.40', '10.20.41')),
        /boot.json is damaged/,
      ],
      ['without a seal', () => writeFileSync(file, rulesOf(BEFORE)), /boot.json is damaged/],
      ['refused', () => writeFileSync(file, refused), /boot.json is refused: .*Error/],
      ['of another', () => chownSync(file, 61_000, 0), /boot.json belongs to user 61000/],
      ['open to others', () => chmodSync(file, 0o666), /boot.json can be written by others/],
      [
        'a link',
        () => (rmSync(file), symlinkSync(join(bed.state, 'confirmed.json'), file)),
        /boot.json is no file/,
      ],
      ['a folder', () => (rmSync(file), mkdirSync(file)), /boot.json is no file/],
    ];

    for (const [name, spoil, says] of cases) {
      rmSync(file, { recursive: true, force: true });
      writeFileSync(file, whole, { mode: 0o600 });
      spoil();
      await bed.run('nft', 'flush', 'ruleset');

      const { status, stderr } = await boot(bed);

      t.equal(status, 0, name);
      t.match(stderr, /^<3>/);
      t.match(stderr, says);
      t.ok(await isShut(bed), 'management, and nothing else');
      t.match(report(bed), /"outcome":"closed"/);
    }

    t.match(await bed.firewall('rollback'), { status: 0 });
    t.ok(await bed.holds(BEFORE), 'a person gets the confirmed rules back');
  },
);

t.test('where nothing can be trusted only the machine itself is let through', { skip }, async (t) => {
  const bed = await started(t);
  const spoiled: readonly (readonly [name: string, spoil: () => void, mend: () => void])[] = [
    [
      'both files',
      () => ['boot', 'closed'].forEach((one) => writeFileSync(join(bed.state, `${one}.json`), '{')),
      () => {},
    ],
    ['the folder of another', () => chownSync(bed.state, 61_000, 0), () => chownSync(bed.state, 0, 0)],
    ['open to others', () => chmodSync(bed.state, 0o777), () => chmodSync(bed.state, 0o700)],
    [
      'above it somebody else',
      () => chownSync(join(bed.folder, 'data'), 61_000, 0),
      () => chownSync(join(bed.folder, 'data'), 0, 0),
    ],
    [
      'moved away by its owner',
      () => (renameSync(bed.state, `${bed.state}-away`), chownSync(join(bed.folder, 'data'), 61_000, 0)),
      () => (renameSync(`${bed.state}-away`, bed.state), chownSync(join(bed.folder, 'data'), 0, 0)),
    ],
  ];

  for (const [name, spoil, mend] of spoiled) {
    spoil();
    await bed.run('nft', 'flush', 'ruleset');

    const { status, stderr } = await boot(bed);

    t.equal(status, 0, name);
    t.match(stderr, /^<3>.*nothing but loopback is let through/);
    const { stdout } = await bed.run('nft', 'list', 'table', 'inet', 'sluice');
    t.equal(stdout.match(/policy drop/g)?.length, 3);
    t.equal(stdout.match(/accept/g)?.length, 4);
    t.match(report(bed), /"outcome":"built-in"/);
    mend();
  }
});

t.test('a sticky folder of root that the gateway writes to is trusted', { skip: skip || long }, async (t) => {
  const bed = await started(t);
  chownSync(join(bed.folder, 'data'), 0, 61_000);
  chmodSync(join(bed.folder, 'data'), 0o1770);

  t.equal((await boot(bed)).status, 0);

  t.ok(await bed.holds(BEFORE));
});

t.test('without nft nothing is forwarded, and the network does not come up', { skip }, async (t) => {
  const bed = await started(t);
  await bed.run('sh', '-c', 'echo 1 >/proc/sys/net/ipv4/ip_forward');
  bed.set('SLUICE_NFT', join(bed.folder, 'none'));

  t.match(await boot(bed), { status: 1, stderr: /^<3>.*no rules can be loaded at all.*not brought up/ });

  t.equal((await bed.run('cat', '/proc/sys/net/ipv4/ip_forward')).stdout, '0\n');
  t.match(report(bed), /"outcome":"failed"/);
});

t.test('nft that hangs is ended, and what closes has its turn', { skip }, async (t) => {
  const bed = await started(t);
  const hangs = join(bed.folder, 'hangs');
  writeFileSync(hangs, '#!/bin/sh\ncase "$*" in */boot.json) sleep 600 & wait ;; esac\nexec nft "$@"\n', {
    mode: 0o755,
  });
  bed.set('SLUICE_NFT', hangs);
  bed.set('SLUICE_NFT_SECONDS', '1');

  t.match(await boot(bed), {
    status: 0,
    stderr: /boot\.json is refused: nft did not end within 1 s; nothing but management/,
  });

  t.match(report(bed), /"outcome":"closed"/);
});

t.test('nft that is killed after it loaded is asked once more', { skip: skip || long }, async (t) => {
  const bed = await started(t);
  const once = join(bed.folder, 'once');
  writeFileSync(
    once,
    `#!/bin/sh\nnft "$@"; s=$?; [ -e ${bed.folder}/killed ] && exit $s\n: >${bed.folder}/killed; kill -9 $$\n`,
    { mode: 0o755 },
  );
  bed.set('SLUICE_NFT', once);

  t.match(await boot(bed), { status: 0, stderr: /confirmed last are loaded/ });

  t.ok(await bed.holds(BEFORE));
});

t.test(
  'netd tells what came of the start of the machine, and writes it down',
  { skip: skip || long },
  async (t) => {
    const bed = await started(t);
    writeFileSync(join(bed.state, 'boot.json'), '{');
    t.equal((await boot(bed)).status, 0);

    const netd = await bed.netd('--boot-report', join(bed.folder, 'run/boot.json'));

    await netd.says(/"level":"error".*"what":"when the machine started".*boot.json is damaged/);
    t.match(
      readFileSync(join(bed.state, 'audit.jsonl'), 'utf8'),
      /"verb":"boot","outcome":"failed","detail":"closed: .*is damaged/,
    );
    await netd.says(/"what":"what is known about the rules is damaged".*until .\/sluice firewall rollback/);
    t.ok(await isShut(bed), 'a whole confirmed.json opens nothing by itself');
    await bed.run('nft', 'delete', 'table', 'inet', 'sluice');
    await until('what is put right', async () => isShut(bed));
    t.match(await bed.asked('status'), { status: 1, stdout: /^the kernel holds rules that let nothing but/ });
    await netd.stop();
    const next = await bed.netd();
    await next.says(/"what":"what is known about the rules is damaged".*until .\/sluice firewall rollback/);
    t.ok(await isShut(bed), 'nor does another netd');
    t.equal(readFileSync(join(bed.state, 'boot.json'), 'utf8'), '{');

    t.match(await bed.asked('rollback'), { status: 0, stdout: /^the rules that were confirmed last hold/ });
    t.ok(await bed.holds(BEFORE));
    t.match(
      readFileSync(join(bed.state, 'boot.json'), 'utf8'),
      /^.*"metainfo"/,
      'the next start opens with it',
    );
    t.equal(new DriftBook(bed.state).read().events.length, 1, 'and nobody else is blamed for the start');
  },
);

t.test(
  'a folder that is moved away while a change waits: it is taken back all the same',
  { skip: skip || long },
  async (t) => {
    const bed = await started(t);
    await bed.run('nft', '-j', '-f', join(bed.state, 'confirmed.json'));
    bed.declare(AFTER);
    t.equal((await bed.firewall('apply')).status, 0);
    t.ok(await bed.holds(AFTER));
    const away = `${bed.state}-away`;
    bed.expireIn(away, () => renameSync(bed.state, away));

    await until('the roll back', () => !existsSync(join(away, 'pending.json')));

    t.ok(await bed.holds(BEFORE));
  },
);

t.test(
  'rules of nobody known are replaced by closed ones where a first change is not confirmed',
  { skip: skip || long },
  async (t) => {
    const bed = await started(t);
    await bed.run('nft', '-j', '-f', join(bed.state, 'confirmed.json'));
    renameSync(bed.state, `${bed.state}-away`);

    t.match(await bed.firewall('apply'), {
      status: 0,
      stdout: /replaced by ones that let nothing but management/,
    });
    t.match(await bed.firewall('rollback'), { status: 0 });

    t.ok(await isShut(bed), 'and not open');
  },
);
