import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Audit, AUDIT_LOCK, auditFile, KEPT, LARGEST, type Who } from '../../src/netd/audit.ts';
import { verifyAudit } from '../../src/netd/audit-verify.ts';
import { sealed } from '../../src/netd/sealed.ts';
import { digest, NO_RULES } from '../../src/netd/state.ts';
import { missingPeer } from '../support/peer.ts';
import { cannotMount, fillDisk, mountSmallDisk } from '../support/small-disk.ts';

// Who did what to the rules: a chain that shows when somebody had a hand in it.

const skip = missingPeer('flock', 'util-linux');
const WHO: Who = { uid: 7, user: 'seven', via: 'socket' };
const deed = (change: string) => ({ verb: 'apply', outcome: 'done', change }) as const;

async function written(t: Test, count: number): Promise<string> {
  const folder = t.testdir({});
  const audit = new Audit(folder);
  for (let i = 0; i < count; i += 1) t.equal(await audit.record(WHO, deed(String(i))), undefined);
  return folder;
}

t.test('records follow one another, whoever writes them', { skip }, async (t) => {
  const folder = await written(t, 3);
  await new Audit(folder).record({ ...WHO, person: 'alice' }, deed('3'));

  const { records, problems, last, head } = verifyAudit(folder);

  t.equal(records, 4);
  t.same(problems, []);
  t.match(last.at(-1), { seq: 4, uid: 7, user: 'seven', person: 'alice', change: '3', hash: head });
  t.equal(statSync(auditFile(folder)).mode & 0o777, 0o600);
});

t.test('what was changed, taken out or put in is found', { skip }, async (t) => {
  const folder = await written(t, 4);
  const file = auditFile(folder);
  const whole = readFileSync(file, 'utf8');
  const lines = whole.split('\n');
  const cases: readonly (readonly [name: string, text: string, says: RegExp])[] = [
    ['changed', whole.replace('"change":"1"', '"change":"9"'), /:2: record 2 is not as it was written/],
    ['taken out', [lines[0], lines[2], lines[3], ''].join('\n'), /:2: record 3 follows 1/],
    ['put in', [...lines.slice(0, 2), lines[1], ...lines.slice(2)].join('\n'), /:3: record 2 follows 2/],
    ['another order', [lines[1], lines[0], lines[2], lines[3], ''].join('\n'), /record 1 follows 2/],
    ['no record', whole.replace(/\{"seq":3.*/, 'x'), /:3: is no record/],
  ];

  for (const [name, text, says] of cases) {
    writeFileSync(file, text);
    t.match(verifyAudit(folder).problems.join('\n'), says, name);
  }
});

t.test('records that are gone are found where nothing tells what was in them', { skip }, async (t) => {
  const folder = await written(t, 6);
  const file = auditFile(folder);
  const lines = readFileSync(file, 'utf8').split('\n');

  writeFileSync(file, lines.slice(5).join('\n'));
  t.match(verifyAudit(folder).problems, [/^records 1 to 5 are missing, and there was room for them/]);
  rmSync(file);
  t.match(verifyAudit(folder).problems, [/^there is no record, though .*audit\.lock shows that something/]);
  rmSync(join(folder, AUDIT_LOCK));
  for (const name of ['quarantine.json', 'island.json', 'confirmed.json']) {
    writeFileSync(join(folder, name), sealed(NO_RULES));
    t.match(verifyAudit(folder).problems, [new RegExp(`^there is no record, though .*${name} shows`)]);
    if (name !== 'confirmed.json') rmSync(join(folder, name));
  }
  await new Audit(folder).record(WHO, deed('begun anew'));
  t.match(verifyAudit(folder).problems, [/^no record tells who confirmed the rules in .*confirmed\.json$/]);
  const rules = digest(NO_RULES);
  await new Audit(folder).record(WHO, { verb: 'quarantine', outcome: 'done', rules });
  t.equal(verifyAudit(folder).problems.length, 1, 'who is cut off while they hold did not confirm them');
  for (const outcome of ['intended', 'done', 'failed'] as const)
    await new Audit(folder).record(WHO, { verb: 'apply', outcome, rules, change: '5f3a90c2' });
  await new Audit(folder).record(WHO, { verb: 'apply', outcome: 'failed', rules });
  t.equal(verifyAudit(folder).problems.length, 1, 'what was applied waited to be confirmed');
  await new Audit(folder).record(WHO, { verb: 'confirm', outcome: 'intended', rules, change: '5f3a90c2' });
  t.same(verifyAudit(folder).problems, []);
});

t.test('rules that are applied again while they hold were confirmed', { skip }, async (t) => {
  const folder = t.testdir({ 'confirmed.json': sealed(NO_RULES) });
  await new Audit(folder).record(WHO, { verb: 'apply', outcome: 'done', rules: digest(NO_RULES) });
  t.same(verifyAudit(folder).problems, []);
});

t.test('where nothing was ever done, there is nothing to be missed', async (t) => {
  const folder = t.testdir({ 'netd.lock': '' });
  for (const empty of [folder, join(folder, 'none')])
    t.match(verifyAudit(empty), { records: 0, from: 0, problems: [] });
});

t.test('a record that a power cut tore does not end the chain', { skip }, async (t) => {
  const folder = await written(t, 2);
  appendFileSync(auditFile(folder), '{"seq":3,"ti');

  t.equal(await new Audit(folder).record(WHO, deed('2')), undefined);

  t.match(verifyAudit(folder), { records: 3, problems: [] });
});

t.test('files are kept to a size and a number, and the chain goes on over them', { skip }, async (t) => {
  const folder = await written(t, 1);
  const audit = new Audit(folder);
  for (let age = 0; age < KEPT + 2; age += 1) {
    // As large as it gets, without a hundred thousand records: what stands before the last line is not looked at.
    const file = auditFile(folder);
    const last = existsSync(file) ? readFileSync(file, 'utf8') : '';
    writeFileSync(file, `${'x'.repeat(LARGEST - last.length - 10)}\n${last}`);
    t.equal(await audit.record(WHO, deed(`${age}`)), undefined);
  }
  const odd = (): string[] => verifyAudit(folder).problems.filter((one) => !/is no record/.test(one));
  t.same(odd(), [], 'older ones were given up, as every file is full');
  // The machine stopped between two names, with the newest file full.
  for (const age of [7, 6]) renameSync(auditFile(folder, age), auditFile(folder, age + 1));
  const full = `${'x'.repeat(LARGEST)}\n`;
  writeFileSync(auditFile(folder), full);
  t.same(odd(), []);
  t.equal(await audit.record(WHO, deed('after it')), undefined);
  t.notOk(existsSync(auditFile(folder)));
  for (let age = 1; age <= KEPT; age += 1) t.ok(existsSync(auditFile(folder, age)), 'nothing went');
  writeFileSync(auditFile(folder, 3), readFileSync(auditFile(folder, 3)).subarray(1_000));
  t.match(odd(), [/^records 1 to \d+ are missing/], 'a shorter one lost its first');
  t.equal(existsSync(auditFile(folder, KEPT)), true);
  t.equal(existsSync(auditFile(folder, KEPT + 1)), false);
  t.equal(await audit.record(WHO, deed('last')), undefined);

  const { last, problems } = verifyAudit(folder);
  t.match(last.at(-1), { seq: KEPT + 5, change: 'last' });
  t.ok(
    problems.every((one) => /is no record|^records 1 to/.test(one)),
    'but for what this test put in, and took out',
  );
});

t.test(
  'a full disk is told, and what was not written is counted',
  { skip: skip || cannotMount() },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'sluice-audit-'));
    const disk = mountSmallDisk(folder, 1);
    t.teardown(() => {
      disk.unmount();
      rmSync(folder, { recursive: true, force: true });
    });
    const audit = new Audit(folder);
    t.equal(await audit.record(WHO, deed('0')), undefined);
    const stone = fillDisk(folder, 0);
    // What is left of the last block takes a few.
    let failed = 0;
    for (let i = 0; i < 40; i += 1) if ((await audit.record(WHO, deed('lost'))) !== undefined) failed += 1;
    t.ok(failed > 0);
    t.same(verifyAudit(folder).problems, [], 'nothing is half written');

    writeFileSync(stone, '');
    t.equal(await audit.record(WHO, deed('again')), undefined);

    const { last, problems } = verifyAudit(folder);
    t.same(problems, []);
    t.match(last.at(-1), { change: 'again', lost: failed });
  },
);
