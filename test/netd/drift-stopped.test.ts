import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { DRIFT, DriftBook } from '../../src/netd/drift-book.ts';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { cannotMount, mountSmallDisk } from '../support/small-disk.ts';
import { until } from '../support/wait.ts';
import { Bed } from './bed.ts';
import { waits } from './change.ts';
import { filled } from './full-bed.ts';
import { audited } from './measure-bed.ts';
import { BEFORE } from './plants.ts';

// What others change cannot be put right for a while: forwarding is off until the rules hold, and no longer.

const skip =
  noRules() || missingPeer('nsenter', 'util-linux') || missingPeer('flock', 'util-linux') || cannotMount();

const switchOf = async (bed: Bed): Promise<string> =>
  (await bed.run('cat', '/proc/sys/net/ipv4/ip_forward')).stdout.trim();

async function switched(bed: Bed, to: string): Promise<void> {
  await until(`forwarding ${to}`, async () => (await switchOf(bed)) === to, 60_000);
}

const switchOn = async (bed: Bed): Promise<unknown> =>
  bed.run('sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward');

const BUSY = `case "$*" in
  "-j -f -") [ -e $HERE/busy ] && { echo "Could not process rule: Device or resource busy" >&2; exit 1; };;
esac
exec $NFT "$@"`;

const isAgain = (line: string): boolean => line.includes('was switched on by another program');

t.jobs = 2;

t.test('forwarding is off while the rules do not hold, and no longer', { skip }, async (t) => {
  const bed = await Bed.make(t);
  const data = join(bed.folder, 'data');
  const disk = mountSmallDisk(data, 2);
  const busy = join(bed.folder, 'busy');
  /** The kernel takes nothing from us, and another program throws our rules away. */
  const flushed = async (): Promise<void> => {
    writeFileSync(busy, '');
    await bed.run('/usr/sbin/nft', 'flush', 'ruleset');
  };
  try {
    await bed.run('chmod', '755', data);
    await bed.confirmed(BEFORE);
    bed.knows(BEFORE);
    bed.declare(BEFORE);
    bed.nftIs(BUSY);
    // A start of the machine ago it was stopped: since then its own settings switched it on.
    writeFileSync(
      join(bed.state, DRIFT),
      JSON.stringify({ v: 1, boot: 'another', events: [], 'given-up': null, stopped: ['v4'] }),
    );
    await switchOn(bed);
    const netd = await bed.netd();

    await flushed();
    await switched(bed, '0');
    await netd.says(/is in force.*forwarding between interfaces is stopped/);
    for (let i = 0; i < 2; i += 1) {
      await switchOn(bed);
      await switched(bed, '0');
    }
    t.equal(netd.err.filter(isAgain).length, 1, 'told once');
    rmSync(busy);
    await switched(bed, '1');
    await netd.says(/"the rules hold again: forwarding between interfaces is as it was"/);
    t.ok(await bed.holds(BEFORE));
    t.match(
      new DriftBook(bed.state).read().events.map(({ outcome }) => outcome),
      ['failed', 'healed'],
    );
    const deeds = audited(bed).filter((line) => /^(heal|load) /.test(line));
    t.match(deeds, [/^heal failed netd/, /^heal done netd/], 'what others did is not taken for ours');

    await flushed();
    await switched(bed, '0');
    await until('the book', () => new DriftBook(bed.state).read().stopped?.includes('v4'));
    const stone = await filled(bed, 'stone');
    rmSync(busy);
    await switched(bed, '1');
    // The disk still has it that forwarding is stopped.
    await flushed();
    await switched(bed, '0');
    rmSync(busy);
    await switched(bed, '1');

    writeFileSync(stone, '');
    await bed.run('/usr/sbin/nft', 'add', 'chain', 'inet', 'sluice', 'c_extra');
    await until('the book', () => /"stopped": null/.test(readFileSync(join(bed.state, DRIFT), 'utf8')));
    await until('the rules', async () => bed.holds(BEFORE));

    // Nothing of it is on the disk.
    const second = await filled(bed, 'second');
    await flushed();
    await switched(bed, '0');
    rmSync(busy);
    await switched(bed, '1');
    t.ok(await bed.holds(BEFORE));
    writeFileSync(second, '');
  } finally {
    await bed.stopped();
    disk.unmount();
  }
});

t.test('nor where nothing has to hold any more', { skip }, async (t) => {
  const bed = await Bed.make(t);
  bed.declare(BEFORE);
  bed.nftIs(BUSY);
  await switchOn(bed);
  const netd = await bed.netd();
  t.match(await bed.asked('apply'), { status: 0 });
  writeFileSync(join(bed.folder, 'busy'), '');
  await bed.run('/usr/sbin/nft', 'flush', 'ruleset');
  await switched(bed, '0');

  bed.expire();
  await until('its guards', () => !waits(bed));
  await switched(bed, '1');
  await netd.says(/"nothing has to hold any more: forwarding between interfaces is as it was"/);
});
