import t from 'tap';
import { seconds } from '../../src/core/units.ts';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { until } from '../support/wait.ts';
import { waits } from './change.ts';
import { hosts, must } from './hosts.ts';
import { asked, holdsFrom } from './measure-bed.ts';
import { plant, plantWithPress } from './measure-plants.ts';

// What must work carries new connections after a change, or the change is taken back.

const FLOW = 'conduit-supervision-control-0';
const POLL = `
import socket, sys, time
while True:
    one = socket.socket()
    one.settimeout(0.3)
    try:
        one.connect((sys.argv[1], 502))
    except OSError:
        pass
    one.close()
    time.sleep(0.1)
`;
const skip = noRules() || missingPeer('conntrack', 'conntrack') || missingPeer('nsenter', 'util-linux');

t.jobs = 2;

t.test('a flow that must work', { skip }, async (t) => {
  const { bed, asks, serves } = await hosts(t);
  await serves.serves(4_001);
  const worked = ', must-work: [conduit-supervision-control-0], must-work-within: 20s';
  const before = plant('tcp/4001');
  bed.declare(before);
  t.equal((await bed.firewall('apply')).status, 0);
  t.equal((await bed.firewall('confirm', bed.change)).status, 0);

  // As it is where nothing else is said: as long as for the confirmation.
  bed.declare(plant('tcp/4002'));
  const silent = await bed.applyWithin(5_000, FLOW);
  t.equal(silent.status, 1);
  t.match(silent.stderr, /conduit-supervision-control-0 carried no new connection within 5 s/);
  t.match(silent.stderr, /the confirmed rules hold/);
  t.ok(await bed.holds(before));

  // Open before and after: it counts as new, and no number is missing.
  const talk = asks.talks('tcp', '10.20.10.9', 4_001);
  await talk.goesOn(5);
  bed.declare(plant('tcp/4001, tcp/4002', 'enforce', worked));
  const { status, stderr } = await bed.firewall('apply');
  t.equal(status, 0, stderr);
  await talk.goesOn(5);
});

t.test('a flow that nobody answers does not work', { skip }, async (t) => {
  const { bed, asks, serves } = await hosts(t);
  await serves.serves(502, 4_001);
  const before = plant('udp/4001');
  bed.declare(before);
  t.equal((await bed.firewall('apply')).status, 0);
  t.equal((await bed.firewall('confirm', bed.change)).status, 0);
  // Packets to a host that is not there any more go out, and nobody says so.
  await must(bed, 'ip', 'neigh', 'add', '10.20.10.8', 'lladdr', '02:00:00:00:10:08', 'dev', 'vlan10');
  asks.talks('udp', '10.20.10.8', 4_002);

  bed.declare(plant('udp/4002', 'enforce', `, must-work: [${FLOW}], must-work-within: 5s`));
  const { status, stderr } = await bed.firewall('apply');

  t.equal(status, 1);
  t.match(stderr, /nobody answered what conduit-supervision-control-0 let through within 5 s/);
  t.ok(await bed.holds(before));

  // One device of two answers: that is enough, and the other one is named.
  bed.spawn('/usr/bin/python3', '-c', POLL, '10.20.10.9');
  bed.spawn('/usr/bin/python3', '-c', POLL, '10.20.10.8');
  bed.declare(
    plantWithPress('10.20.10.9').replace('10m,', '10m, must-work: [polls],') +
      '  press-2: { class: press, at: "modbus-tcp://10.20.10.8", mac: "02:00:00:00:10:08" }\n',
  );
  const half = await bed.firewall('apply');
  t.equal(half.status, 0, half.stderr);
  t.match(half.stdout, /did not answer yet: press-2 \(poll-control\)/);
});

const trialOf = (port: string): string =>
  plant(port, 'enforce', `, must-work: [${FLOW}], must-work-within: 120s`);

t.test('what must work is waited for, and holds nobody up', { skip }, async (t) => {
  const { bed, asks, serves } = await hosts(t);
  await serves.serves(4_002, 4_003);
  await holdsFrom(bed, plant('tcp/4001'));
  const netd = await bed.netd();
  const [after, other] = [trialOf('tcp/4002'), trialOf('tcp/4003')];
  /** Loaded, and waiting for somebody to talk. */
  const apply = async (yaml: string): Promise<{ readonly said: Promise<string> }> => {
    bed.declare(yaml);
    const said = asked(bed, 'apply').catch((error: Error) => error.message);
    await until('the trial', async () => waits(bed) && (await bed.holds(yaml)));
    return { said };
  };

  const first = await apply(after);
  await t.rejects(asked(bed, 'apply'), { message: /is being tried: what must work has not worked yet/ });
  t.match(
    await asked(bed, 'quarantine', { device: '10.20.10.99', lasts: seconds(1), because: 'x' }),
    /is in quarantine/,
  );
  await netd.says(/"what":"released: its time is over"/);
  await bed.run('nft', 'flush', 'ruleset');
  await netd.says(/what another program changed is put right/);
  t.ok(await bed.holds(after), 'what waits is put right meanwhile');
  asks.talks('tcp', '10.20.10.9', 4_002);
  t.match(await first.said, /^applied and proven/, 'and counts from its new table on');
  await asked(bed, 'confirm', { change: bed.change });

  const second = await apply(other);
  t.match(await asked(bed, 'rollback'), /is taken back/);
  t.match(await second.said, /was taken back while what must work was tried/);
  t.ok(await bed.holds(after));

  const third = await apply(other);
  await netd.stop('SIGKILL');
  await third.said;
  await bed.netd();
  await t.rejects(asked(bed, 'confirm', { change: bed.change }), { message: /cannot be confirmed yet/ });
  t.match(await asked(bed, 'rollback'), /is taken back/);

  // More connections than there will be.
  for (let i = 0; i < 3; i += 1) await asks.talks('tcp', 'fd00:10::9', 4_002).goesOn(1);
  const fourth = await apply(other);
  // Its turn comes when the trial has begun.
  await asked(bed, 'quarantine', { device: '10.20.10.99', because: 'x' });
  await must(bed, 'nft', 'reset', 'counters', 'table', 'inet', 'sluice');
  asks.talks('tcp', '10.20.10.9', 4_003);
  t.match(
    await fourth.said,
    /^applied and proven/,
    'what was counted until somebody set it back counts no more',
  );
});
