import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { hosts, type Talk } from './hosts.ts';
import { good, held, sluice } from './measure-bed.ts';
import { plant } from './measure-plants.ts';

// Quarantine and island, with real connections through a real gateway.

const skip = noRules() || missingPeer('conntrack', 'conntrack') || missingPeer('nsenter', 'util-linux');
t.jobs = 2;

async function isSilent(talk: Talk, other: Talk): Promise<boolean> {
  const before = talk.count;
  await other.goesOn(15);
  return talk.count === before;
}

t.test('a device in quarantine', { skip }, async (t) => {
  const { bed, asks, serves } = await hosts(t);
  await serves.serves(4_001);
  await held(bed, plant('tcp/4001'));
  const [four, six] = [asks.talks('tcp', '10.20.10.9', 4_001), asks.talks('tcp', 'fd00:10::9', 4_001)];
  await four.goesOn(5);
  await six.goesOn(5);

  t.match(await good(bed, 'quarantine', '10.20.10.9', '--because', 'odd writes'), /is in quarantine/);
  t.ok(await isSilent(four, six), 'a living connection stops at once, and the other address goes on');
  t.match(await good(bed, 'quarantine'), /10\.20\.10\.9 since .*, until it is released: odd writes/);
  const status = await sluice(bed, 'firewall', 'status');
  t.equal(status.status, 0, 'the kernel holds what it shall hold');
  t.match(status.stdout, /in quarantine: 10\.20\.10\.9/);

  await bed.run('nft', 'delete', 'element', 'inet', 'sluice', 'q_ip_4', '{ 10.20.10.9 }');
  t.equal((await sluice(bed, 'firewall', 'status')).status, 1, 'who lets it out by hand is noticed');
  await good(bed, 'firewall', 'rollback');
  t.ok(await isSilent(four, six), 'and a roll back puts it back');
  await bed.run('nft', 'add', 'element', 'inet', 'sluice', 'q_ip_4', '{ 10.20.10.77 }');
  await good(bed, 'firewall', 'rollback');
  t.notMatch((await bed.listing()) ?? '', /10\.20\.10\.77/, 'nobody is there who is not in the book');

  bed.declare(plant('tcp/4001, tcp/4002'));
  await good(bed, 'firewall', 'apply');
  t.ok(await isSilent(four, six), 'a change keeps it');
  await good(bed, 'firewall', 'confirm', bed.change);
  t.ok(await isSilent(four, six), 'so does its confirmation');
  await bed.run('nft', 'delete', 'table', 'inet', 'sluice');
  await good(bed, 'firewall', 'rollback');
  t.ok(await isSilent(four, six), 'so does a whole new table');

  t.match(await good(bed, 'release', '10.20.10.9'), /10\.20\.10\.9 is released/);
  await four.goesOn(5); // every number in its order: nothing was lost
  t.match(await good(bed, 'quarantine'), /nobody is in quarantine/);
  t.match(await sluice(bed, 'release', '10.20.10.9'), { status: 1, stderr: /is not in quarantine/ });
  const audit = readFileSync(join(bed.state, 'audit.jsonl'), 'utf8');
  t.match(audit, /"verb":"quarantine","outcome":"done".*"device":"10\.20\.10\.9"/);
  t.match(audit, /"verb":"release","outcome":"done"/);

  const book = join(bed.state, 'quarantine.json');
  await good(bed, 'quarantine', '10.20.10.9', '--for', '1h', '--because', 'for a while');
  t.match(await good(bed, 'quarantine'), /, for (1h|\d+s|\d+m): for a while/);
  const text = readFileSync(book, 'utf8');
  writeFileSync(book, text.replace(/"left": \d+/, '"left": 1'));
  await good(bed, 'firewall', 'rollback');
  await four.goesOn(5);

  writeFileSync(book, '{"version":1,');
  t.match(await sluice(bed, 'firewall', 'apply'), { status: 1, stderr: /quarantine\.json is damaged/ });
});

t.test('what quarantine refuses, and where nothing enforces it', { skip }, async (t) => {
  const { bed } = await hosts(t);
  bed.declare(plant('tcp/4001', 'off'));
  const { status, stdout } = await sluice(bed, 'quarantine', '10.20.10.9', '--because', 'x');
  t.equal(status, 1);
  t.match(stdout, /warning: no rules were ever applied: nothing enforces this/);
  for (const [args, says] of [
    [['10.20.10.1', '--because', 'x'], /is an address of the gateway itself/],
    [['press-1', '--because', 'x'], /no device, address or hardware address is called press-1/],
    [['10.20.10.9'], /quarantine wants a reason: --because/],
    [['10.20.10.9', '--because', 'x', '--for', 'soon'], /--for wants a time/],
  ] as const) {
    const refused = await sluice(bed, 'quarantine', ...args);
    t.not(refused.status, 0);
    t.match(refused.stderr, says);
  }
});

t.test('an island, and back', { skip }, async (t) => {
  const { bed, asks, serves } = await hosts(t);
  await serves.serves(4_001);
  t.match(await sluice(bed, 'firewall', 'island', '--because', 'x'), { status: 78 });
  await held(bed, plant('tcp/4001, udp/4001'));
  const talks = (['tcp', 'udp'] as const).flatMap((protocol) =>
    ['10.20.10.9', 'fd00:10::9'].map((address) => asks.talks(protocol, address, 4_001)),
  );
  for (const talk of talks) await talk.goesOn(5);

  t.match(
    await good(bed, 'firewall', 'island', '--because', 'a worm at the supplier'),
    /every conduit is cut, proven/,
  );

  const counts = talks.map((talk) => talk.count);
  const silent = async (when: string): Promise<void> => {
    t.strictSame(
      talks.map((talk) => talk.count),
      counts,
      when,
    );
  };
  t.match(await good(bed, 'firewall', 'status'), /is an island since .*a worm at the supplier/);
  await silent('at once');
  bed.declare(plant('tcp/4001, udp/4001, tcp/4002'));
  await good(bed, 'firewall', 'apply');
  await silent('a change keeps the island');
  await good(bed, 'firewall', 'confirm', bed.change);
  await silent('so does a confirmation');
  await bed.run('nft', 'delete', 'table', 'inet', 'sluice');
  await good(bed, 'firewall', 'rollback');
  // Without a table everything passed for a moment; from the roll back on nothing does.
  const then = talks.map((talk) => talk.count);
  t.match(await good(bed, 'firewall', 'status'), /proven: /);
  t.strictSame(
    talks.map((talk) => talk.count),
    then,
    'so does a roll back',
  );

  t.match(await good(bed, 'firewall', 'rejoin'), /open again/);
  for (const talk of talks) await talk.goesOn(5);
  t.notOk(existsSync(join(bed.state, 'island.json')));
  t.match(await sluice(bed, 'firewall', 'rejoin'), { status: 1, stderr: /no island/ });
});
