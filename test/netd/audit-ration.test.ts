import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { AuditRation } from '../../src/netd/audit-ration.ts';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { Bed } from './bed.ts';
import { confirmed } from './change.ts';
import { BEFORE } from './plants.ts';
import { Speaker } from './said.ts';

// Whoever may ask cannot push what others did out of the audit.

const skip = noRules() || missingPeer('nsenter', 'util-linux');
const SPEAKERS = 4;
/** Of each: as many as one connection may ask at once. */
const ASKED = 15;

t.test('what fails and changes nothing is written down as often as what is refused', { skip }, async (t) => {
  const bed = await confirmed(t);
  await bed.netd();
  const speakers = await Promise.all(Array.from({ length: SPEAKERS }, async () => Speaker.to(bed)));

  const answers = await Promise.all(
    speakers.map(async (speaker) => {
      const heard: string[] = [];
      for (let i = 0; i < ASKED; i += 1)
        heard.push(await speaker.asked({ verb: 'quarantine', device: 'nobody', because: 'to be seen' }));
      return heard;
    }),
  );

  t.equal(answers.flat().filter((one) => /"ok":false.*nobody/.test(one)).length, SPEAKERS * ASKED);
  const lines = readFileSync(join(bed.state, 'audit.jsonl'), 'utf8').split('\n');
  const written = lines.filter((line) => /"outcome":"failed"/.test(line)).length;
  t.ok(written >= 20 && written < 30, `${written} of ${SPEAKERS * ASKED} are in the audit`);
  const good = await Speaker.to(bed);
  t.match(await good.asked({ verb: 'quarantine', device: '10.20.10.9', because: 'to be seen' }), /"ok":true/);
  const last = readFileSync(join(bed.state, 'audit.jsonl'), 'utf8').trim().split('\n').slice(-2);
  t.match(
    last[0],
    /"outcome":"intended".*"detail":"\(and \d+ more before that are not written down\) to be seen"/,
  );
  t.match(last[1], /"outcome":"done","detail":"to be seen"/);
});

t.test('as many as the kernel holds in quarantine are written down, then one now and then', async (t) => {
  const ration = new AuditRation();

  const all = Array.from({ length: 1_100 }, () => ration.deed(7));

  t.equal(all.filter((one) => one === '').length, 1_024);
  t.equal(all.at(-1), undefined);
  t.match(
    ration.deed(0),
    /^\(and 76 more before/,
    'another user has its own, and tells how many are missing',
  );
  t.equal(ration.idle(), '', 'and told once');
});

t.test('reads are written down once a minute for each user and verb', async (t) => {
  const ration = new AuditRation();

  t.notOk(ration.leavesOut('status', 7));
  t.ok(ration.leavesOut('status', 7));
  t.notOk(ration.leavesOut('status', 8));
  t.notOk(ration.leavesOut('plan', 7));
  for (const verb of ['rollback', 'rollback'] as const) t.notOk(ration.leavesOut(verb, 7));
});

t.test('who only looks at a fresh machine begins no audit, and is told of none', { skip }, async (t) => {
  const bed = await Bed.make(t);
  bed.declare(BEFORE);

  const { stdout, stderr } = await bed.firewall('status');

  t.match(stdout, /the kernel holds no rules of Sluice/, stderr);
  t.notMatch(stdout, /audit/);
  t.notOk(existsSync(bed.state));
});
