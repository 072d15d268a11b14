import t from 'tap';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { until } from '../support/wait.ts';
import { Bed } from './bed.ts';
import { confirmed, waits } from './change.ts';
import { asked, holdsFrom, inTurn, sluice } from './measure-bed.ts';
import { AFTER, BEFORE } from './plants.ts';

// What is in force and what nothing enforces are never told alike.

const skip = noRules() || missingPeer('nsenter', 'util-linux');
const put = { device: '10.20.10.9', because: 'odd writes' };
const NOTHING =
  /an island since .*, and nothing enforces it\n.*in quarantine, and nothing enforces it: 10\.20\.10\.9/;

t.test('what goes with a first change that nobody confirms is told so', { skip }, async (t) => {
  const bed = await Bed.make(t);
  bed.declare(AFTER);
  await bed.netd();
  await asked(bed, 'apply');

  for (const said of [await asked(bed, 'quarantine', put), await asked(bed, 'island', { because: 'a worm' })])
    t.match(
      said,
      new RegExp(`change ${bed.change} waits: unless it is confirmed, nothing enforces this any more`),
    );
  t.notMatch((await bed.asked('status')).stdout, /nothing enforces/);

  bed.expire();
  await until('the roll back', () => !waits(bed));
  t.equal(await bed.listing(), undefined);
  t.match(await bed.asked('status'), { status: 1, stdout: NOTHING });
  t.match(await bed.asked('status', '--json'), { stdout: /"enforced":false/ });
  t.match(await sluice(bed, 'quarantine', '--socket', bed.socket), {
    status: 1,
    stdout: /^10\.20\.10\.9 since .*\nnothing enforces it/,
  });

  await asked(bed, 'apply');
  t.match(
    await asked(bed, 'rollback'),
    /none are loaded.*\n.*\n.*nothing enforces any more who is in quarantine/,
  );
});

t.test('segmentation is not switched off over those who are in quarantine', { skip }, async (t) => {
  const bed = await confirmed(t);
  await holdsFrom(bed, BEFORE);
  await bed.netd();
  t.notMatch(await asked(bed, 'quarantine', put), /waits/);
  await asked(bed, 'island', { because: 'a worm' });
  bed.declare(BEFORE.replace('mode: enforce', 'mode: off'));

  t.match(await inTurn(async () => bed.asked('apply')), {
    status: 1,
    stderr: /nothing would enforce that the gateway is an island.*firewall rejoin/,
  });
  await asked(bed, 'rejoin');
  t.match(await inTurn(async () => bed.asked('apply')), {
    status: 1,
    stderr: /nothing would enforce that 10\.20\.10\.9 is in quarantine.*sluice release 10\.20\.10\.9/,
  });
  t.notOk(waits(bed));
  await asked(bed, 'release', { device: put.device });
  await asked(bed, 'apply');

  const late = await sluice(bed, 'quarantine', put.device, '--because', 'x', '--socket', bed.socket);
  t.match(late, { status: 1, stdout: /segmentation is off: nothing enforces this/ });
  t.match(await inTurn(async () => bed.asked('confirm', bed.change)), {
    status: 1,
    stderr: /10\.20\.10\.9 is in quarantine/,
  });
  t.match(await bed.asked('status'), { status: 1, stdout: /in quarantine, and nothing enforces it: 10\.20/ });
  await asked(bed, 'rollback');
  t.match(await bed.asked('status'), { stdout: /in quarantine: 10\.20\.10\.9/ });
});
