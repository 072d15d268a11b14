import t from 'tap';
import { noForwarding, packetSender } from '../support/forwarding.ts';
import { reloadUnderLoad } from './reload-load.ts';
import { NARROW, WIDE } from './reload-plant.ts';

// No packet that is denied gets through a change of the rules, and those that are allowed before and after arrive.

const RELOADS = Number(process.env['RELOADS'] ?? '50');
/** More than this is no accident of a busy machine: a black-out would cost hundreds. */
const MOST_LOST = 0.001;

t.test(
  'no denied packet gets through a reload, and no allowed one is lost',
  { skip: noForwarding() },
  async (t) => {
    const folder = t.testdir({});

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
    t.ok(lost.interval + lost.hash <= 2 * sent * MOST_LOST, 'allowed packets arrive');
  },
);
