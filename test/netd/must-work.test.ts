import t from 'tap';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { hosts } from './hosts.ts';
import { plant } from './measure-plants.ts';

// What must work carries new connections after a change, or the change is taken back.

const skip = noRules() || missingPeer('conntrack', 'conntrack') || missingPeer('nsenter', 'util-linux');

t.test('a flow that must work', { skip }, async (t) => {
  const { bed, asks, serves } = await hosts(t);
  await serves.serves(4_001);
  const must = ', must-work: [conduit-supervision-control-0], must-work-within: 20s';
  const before = plant('tcp/4001');
  bed.declare(before);
  t.equal((await bed.firewall('apply')).status, 0);
  t.equal((await bed.firewall('confirm', bed.change)).status, 0);

  bed.declare(plant('tcp/4002', 'enforce', must.replace('20s', '5s')));
  const silent = await bed.firewall('apply');
  t.equal(silent.status, 1);
  t.match(silent.stderr, /conduit-supervision-control-0 carried no new connection within 5 s/);
  t.match(silent.stderr, /the confirmed rules hold/);
  t.ok(await bed.holds(before));

  // Open before and after: it counts as new, and no number is missing.
  const talk = asks.talks('tcp', '10.20.10.9', 4_001);
  await talk.goesOn(5);
  bed.declare(plant('tcp/4001, tcp/4002', 'enforce', must));
  const { status, stderr } = await bed.firewall('apply');
  t.equal(status, 0, stderr);
  await talk.goesOn(5);
});
