import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as fc from 'fast-check';
import t from 'tap';
import { evaluate } from '../../src/segmentation/evaluate.ts';
import { ValueReader } from '../../src/segmentation/field-value.ts';
import { Follower } from '../../src/segmentation/follow.ts';
import { parseListing } from '../../src/segmentation/listing.ts';
import { type Packet, packetText } from '../../src/segmentation/packet.ts';
import { PacketSpace } from '../../src/segmentation/packet-space.ts';
import { long, seedOf } from '../support/long.ts';
import { inNamespace, noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { anyTable, commandsOf, WORLD } from './any-table.ts';
import { plain, udp } from './datagrams.ts';
import { ethernet } from './frames.ts';
import { decisionsIn, markOf, tracesOf } from './traced.ts';
import { bedOf, gatewayMac, type Link, value } from './traced-packets.ts';

// Tables that jump, return and compare as no policy of ours does: the rule that decided, as the kernel traces it, is the
// one that the proof would name.

const skip = noRules() || missingPeer('python3', 'python3') || missingPeer('ip', 'iproute2');
const TABLES = Number(process.env['TRACE_TABLES'] ?? (long === false ? '150' : '24'));
const SEED = seedOf('TRACE_SEED', 11);

const [ONE, TWO] = WORLD.interfaces;
const LINKS: readonly Link[] = [
  { name: ONE ?? '', routes: ['default', '::/0'], own: ['10.0.0.1', '10.0.0.2', 'fd00::1', 'fd00::2'] },
  { name: TWO ?? '', routes: [], own: [] },
];

interface Sent {
  readonly packet: Packet;
  readonly line: string;
}

function sent(mark: number, link: number, source: string, target: string, port: number): Sent {
  const isV4 = target.includes('.');
  const [bytes = Buffer.alloc(0)] = plain({ source, target }, udp([20_000 + mark, port], 'x'));
  const frame = ethernet(gatewayMac(link), markOf(mark), isV4 ? 0x0800 : 0x86dd, bytes);
  const packet: Packet = {
    hook: 'input',
    family: isV4 ? 'ipv4' : 'ipv6',
    // Nobody answers, and each has a port of its own: whoever sends again is new again.
    state: 'new',
    in: LINKS[link]?.name ?? '',
    out: '',
    source: value(source),
    destination: value(target),
    protocol: 17,
    port,
    hopLimit: 64,
    ether: 0x0201_0000_0000 + mark,
    reversePath: link === 0,
    quarantine: 0,
  };
  return { packet, line: `p${link} ${frame.toString('hex')}` };
}

const PACKETS: readonly Sent[] = [WORLD.ipv4, WORLD.ipv6]
  .flatMap(([first = '', second = '', third = '', fourth = '']) =>
    [third, fourth].flatMap((source) =>
      [first, second].flatMap((target) =>
        WORLD.ports.flatMap((port) => [0, 1].map((link) => ({ link, source, target, port }))),
      ),
    ),
  )
  .map(({ link, source, target, port }, mark) => sent(mark, link, source, target, port));
/** Sent until they are told of. */
const WATCHED = [0x7000, 0x7001].map((mark) => sent(mark, 0, '10.0.0.4', '10.0.0.1', 9).line);

t.test('the rule that decided is the one that is named', { skip }, (t) => {
  const tables = fc.sample(anyTable('input'), { numRuns: TABLES, seed: SEED });
  const frames = [...PACKETS.map(({ line }) => line), ...WATCHED].join('\n');
  const folder = t.testdir(
    Object.fromEntries(
      tables.flatMap((objects, i) => [
        [`${i}.json`, commandsOf(objects)],
        [`${i}.frames`, frames],
      ]),
    ),
  );

  const ran = inNamespace(bedOf(LINKS), folder, join(process.cwd(), 'test/segmentation/trace.py'));

  t.equal(ran.status, 0, ran.stderr);
  const count = { accept: 0, drop: 0, tables: 0 };
  const rules = new Set<string>();
  for (const i of tables.keys()) {
    if (!existsSync(join(folder, `${i}.trace`))) continue;
    const space = new PacketSpace();
    for (const name of ['lo', ...WORLD.interfaces]) space.interfaceNumber(name);
    const listing = parseListing(
      readFileSync(join(folder, `${i}.listing`), 'utf8'),
      new ValueReader((name) => space.interfaceNumber(name)),
    );
    // What it does not understand it does not judge: evaluate-kernel.test.ts says what that may be.
    if (evaluate(space, listing).gaps.length > 0) continue;
    count.tables += 1;
    const follower = new Follower(space, listing);
    const traces = tracesOf(readFileSync(join(folder, `${i}.trace`), 'utf8'));
    for (const [k, { packet }] of PACKETS.entries()) {
      const fate = follower.follow(packet);
      const last = traces.get(markOf(k))?.stages.at(-1)?.at(-1);
      const told = `${last?.verdict} by ${last?.chain} ${last?.by}`;
      const said = `${fate.outcome} by ${decisionsIn(fate.rule).at(-1)}`;
      if (told !== said) t.fail(`table ${i}: ${packetText(packet)}: ${told}, and not ${said}`);
      if (fate.outcome !== 'would deny') count[fate.outcome] += 1;
      rules.add(`${i} ${told}`);
    }
  }
  t.comment(`${JSON.stringify(count)}, ${rules.size} rules decided, seed ${SEED}`);
  t.ok(count.tables >= TABLES / 4, 'enough of the tables are understood');
  t.ok(count.accept > 4 * TABLES && count.drop > 4 * TABLES, 'neither is rare');
  t.ok(rules.size > count.tables, 'and it is not always the same rule');
  t.end();
});
