import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { DriftBook } from '../../src/netd/drift-book.ts';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { until } from '../support/wait.ts';
import { confirmed } from './change.ts';
import { asked, audited } from './measure-bed.ts';
import { AFTER, BEFORE } from './plants.ts';

// What a change of ours meets, and what it leaves: nobody is blamed for what we failed at, and nobody is overlooked
// because we undid it. nft tells of no change here: netd is not woken by what it looks for.

const skip = noRules() || missingPeer('nsenter', 'util-linux') || missingPeer('flock', 'util-linux');

t.test('changes of ours that fail, or undo those of others', { skip }, async (t) => {
  const bed = await confirmed(t);
  bed.knows(BEFORE);
  bed.declare(BEFORE);
  bed.nftIs(`case "$*" in
    *monitor*) exec sleep 600;;
    "-j -f -") [ -e $HERE/busy ] && { echo "Could not process rule: Device or resource busy" >&2; exit 1; };;
  esac
  exec $NFT "$@"`);
  const netd = await bed.netd();
  const events = () => new DriftBook(bed.state).read().events;
  const isHeld = async (address: string): Promise<boolean> =>
    new RegExp(`"elem": \\[[^\\]]*"${address}"`).test((await bed.listing()) ?? '');

  const busy = join(bed.folder, 'busy');
  writeFileSync(busy, '');
  await t.rejects(asked(bed, 'quarantine', { device: '10.20.10.9', because: 'x' }), { message: /busy/ });
  await netd.says(/rules that were asked for are not loaded, and are tried again.*busy/);
  rmSync(busy);
  await netd.says(/rules that could not be loaded when they were asked for are loaded.*busy/);
  t.ok(await isHeld('10.20.10.9'));
  t.strictSame(events(), [], 'nobody else did anything');
  t.match(audited(bed).slice(-2), [/^load failed netd .*busy/, /^load done netd it had failed: .*busy/]);

  await bed.run('/usr/sbin/nft', 'insert', 'rule', 'inet', 'sluice', 'g_forward', 'accept');
  await asked(bed, 'quarantine', { device: '10.20.10.10', because: 'x' });
  t.ok(await isHeld('10.20.10.10'));
  const event = await until('what was undone', () => events()[0]);
  t.match(event, { outcome: 'healed', by: [], what: ['chain g_forward differs'], change: null });
  t.ok(event.gained.length > 0);
  await until('the audit', () => audited(bed).some((line) => line.startsWith('heal done netd')));
  t.equal(events().length, 1);

  await netd.stop();
  await bed.run('/usr/sbin/nft', 'insert', 'rule', 'inet', 'sluice', 'g_input', 'accept');
  t.match(await bed.firewall('rollback'), { status: 0, stderr: /undone, as .*: chain g_input differs/ });
  t.match(events()[1], { outcome: 'healed', what: ['chain g_input differs'] });
  t.match(audited(bed).slice(-2), [/^drift done command line nobody was seen; chain g_input/, /^heal done/]);

  bed.declare(AFTER);
  t.equal((await bed.firewall('apply')).status, 0);
  await bed.run('/usr/sbin/nft', 'insert', 'rule', 'inet', 'sluice', 'g_input', 'accept');
  const { status, stderr } = await bed.firewall('confirm', bed.change);
  t.equal(status, 1);
  t.match(stderr, /undone, as .*: chain g_input differs/, 'also by a command that fails');
  t.match(stderr, /cannot be confirmed/);
  t.match(events()[2], { outcome: 'healed', what: ['chain g_input differs'] });
});
