import { readFileSync } from 'node:fs';
import t from 'tap';
import { noForwarding, packetSender } from '../support/forwarding.ts';
import { times } from '../support/long.ts';
import { reloadUnderLoad } from './reload-load.ts';
import { NARROW, readers, WIDE } from './reload-plant.ts';

// No packet that is denied gets through a change of the rules, and those that are allowed before and after arrive.

const RELOADS = times('RELOADS', 50, 300);
const MANY_RELOADS = times('MANY_RELOADS', 16, 100);

/**
 * What this machine had to drop, of whatever, as a processor was behind with what came in: the second column of its line,
 * in hex. That is no matter of rules.
 */
const droppedByQueues = (): number =>
  readFileSync('/proc/net/softnet_stat', 'utf8')
    .trim()
    .split('\n')
    .reduce((sum, line) => sum + Number.parseInt(line.split(' ')[1] ?? '0', 16), 0);

t.test(
  'no denied packet gets through a reload, and no allowed one is lost',
  { skip: noForwarding() },
  async (t) => {
    const folder = t.testdir({});
    const before = droppedByQueues();

    const counted = await reloadUnderLoad({
      method: 'delta',
      plants: [NARROW, WIDE],
      reloads: RELOADS,
      seconds: 600,
      rate: 1_000,
      folder,
      program: packetSender(folder),
    });

    const { sent, lost, leaked } = counted;
    t.comment(
      `${counted.rules} reloads: ${lost.interval} and ${lost.hash} of ${sent} allowed packets lost, ${leaked} of ${sent} denied leaked`,
    );
    t.equal(counted.rules, RELOADS, 'every reload changed rules and elements, in place');
    t.ok(sent > 500, 'there was traffic');
    t.equal(leaked, 0);
    const queues = droppedByQueues() - before;
    t.ok(lost.interval + lost.hash <= queues, `allowed packets arrive, but for ${queues} of full queues`);
  },
);

t.test(
  'a conduit that becomes one from many to many loses no packet',
  { skip: noForwarding() },
  async (t) => {
    const folder = t.testdir({});
    const before = droppedByQueues();

    const { sent, lost, leaked, reloads } = await reloadUnderLoad({
      method: 'delta',
      plants: [readers(4), readers(5)],
      reloads: MANY_RELOADS,
      seconds: 600,
      rate: 1_000,
      folder,
      program: packetSender(folder),
    });

    t.comment(`${reloads} reloads: ${lost.interval} and ${lost.hash} of ${sent} allowed packets lost`);
    t.equal(reloads, MANY_RELOADS);
    t.equal(leaked, 0);
    const queues = droppedByQueues() - before;
    t.ok(lost.interval + lost.hash <= queues, `allowed packets arrive, but for ${queues} of full queues`);
  },
);
