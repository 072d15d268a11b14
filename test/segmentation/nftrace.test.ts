import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as fc from 'fast-check';
import t from 'tap';
import { compile } from '../../src/segmentation/compile.ts';
import { ValueReader } from '../../src/segmentation/field-value.ts';
import { Follower } from '../../src/segmentation/follow.ts';
import { parseListing } from '../../src/segmentation/listing.ts';
import { type Packet, packetText } from '../../src/segmentation/packet.ts';
import { PacketSpace } from '../../src/segmentation/packet-space.ts';
import type { Policy } from '../../src/segmentation/policy.ts';
import { render } from '../../src/segmentation/render.ts';
import { long, seedOf } from '../support/long.ts';
import { inNamespace, noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { anyPolicy } from './any-policy.ts';
import { listings } from './listed.ts';
import { decisionsIn, type Traced, tracesOf } from './traced.ts';
import { bedOf, type Header, headers, LINKS, linkTo, type Sent, sent, value } from './traced-packets.ts';

// Random packets against random policies in a kernel that tells, rule by rule, what becomes of each (nftrace): the verdict
// and every rule on the way to it are those that the proof names.

const skip = noRules() || missingPeer('python3', 'python3') || missingPeer('ip', 'iproute2');
const POLICIES = Number(process.env['TRACE_POLICIES'] ?? (long === false ? '60' : '8'));
const SEED = seedOf('TRACE_SEED', 5);
/** Connections that are tried with each policy; most of them are answered. */
const CONNECTIONS = 50;

function followerOf(listing: string): Follower {
  const space = new PacketSpace();
  for (const name of ['lo', ...LINKS.map((link) => link.name)]) space.interfaceNumber(name);
  return new Follower(space, parseListing(listing, new ValueReader((name) => space.interfaceNumber(name))));
}

interface Plan {
  readonly policy: Policy;
  readonly json: string;
  readonly packets: readonly Sent[];
}

/** An answer belongs to a connection where its first packet passed: as far as it is said that it does. */
function planOf(policy: Policy, index: number, json: string, listing: string): Plan {
  const follower = followerOf(listing);
  const [list = []] = fc.sample(headers(policy, CONNECTIONS), { numRuns: 1, seed: SEED + index });
  const packets = list.flatMap((header, number) => {
    const serial = index * CONNECTIONS + number;
    const mark = 2 * number;
    const first = sent(header, { policy, state: 'new', answers: false, serial, mark });
    if (first.packet.hook === 'input' || first.led !== undefined) return [first];
    const passed = follower.follow(first.packet).outcome !== 'drop';
    const state = passed ? 'established' : header.protocol === 'udp' ? 'new' : 'invalid';
    const back = { ...header, link: linkTo(header.destination) };
    return [first, sent(back, { policy, state, answers: true, serial, mark: mark + 1 })];
  });
  return { policy, json, packets };
}

/** Sent until they are told of, at the beginning and at the end. */
const WATCHED: Header = {
  family: 4,
  link: 0,
  source: value('10.20.10.250'),
  destination: value('10.20.10.1'),
  protocol: 'udp',
  port: 9,
};
const LAST_MARK = 0xffff;
const watched = (policy: Policy): string[] =>
  [LAST_MARK - 1, LAST_MARK].map(
    (mark) => sent(WATCHED, { policy, state: 'new', answers: false, serial: mark - 20_000, mark }).line,
  );

/** Where its connection is led to, as it comes in there. */
const ledIn = (packet: Packet, led: number, { destination }: Traced): Packet => ({
  ...packet,
  hook: 'input',
  out: '',
  destination: value(destination),
  port: led,
  originalDestination: packet.destination,
  originalPort: packet.port,
});

/** The chains of a filter are one rule to the Follower; the one that leads connections decides nothing. */
const pathOf = ({ stages }: Traced) =>
  (stages.filter((stage) => stage[0]?.chain !== 'g_guard').at(-1) ?? []).filter(
    ({ chain }) => !/^x_(?:filter|request)/.test(chain),
  );

t.test('what the kernel does with a packet, and by which rules, is what is said of it', { skip }, (t) => {
  const policies = fc.sample(anyPolicy, { numRuns: POLICIES, seed: SEED });
  const jsons = policies.map((policy) => render(compile(policy)));
  const listed = listings(
    t,
    jsons.map((json) => ({ json, change: '' })),
  );
  const plans = policies.map((policy, i) => planOf(policy, i, jsons[i] ?? '', listed[i] ?? ''));
  const folder = t.testdir(
    Object.fromEntries(
      plans.flatMap(({ policy, json, packets }, i) => [
        [`${i}.json`, json],
        [`${i}.frames`, [...packets.map(({ line }) => line), ...watched(policy)].join('\n')],
      ]),
    ),
  );

  const ran = inNamespace(bedOf(LINKS), folder, join(process.cwd(), 'test/segmentation/trace.py'));

  t.equal(ran.status, 0, ran.stderr);
  const count = { accept: 0, drop: 0, established: 0, invalid: 0, led: 0 };
  const ways = new Set<string>();
  for (const [i, { packets }] of plans.entries()) {
    t.ok(existsSync(join(folder, `${i}.trace`)), `policy ${i} was loaded`);
    const traces = tracesOf(readFileSync(join(folder, `${i}.trace`), 'utf8'));
    const follower = followerOf(readFileSync(join(folder, `${i}.listing`), 'utf8'));
    for (const [k, { packet, mark, led }] of packets.entries()) {
      const text = `policy ${i}, packet ${k}: ${packetText(packet)}`;
      const traced = traces.get(mark);
      if (traced === undefined) {
        t.fail(`${text}: nothing was told of it`);
        continue;
      }
      const raw = follower.follow(packet);
      const isLed = led !== undefined && !raw.rule.startsWith('g_raw');
      const fate = isLed ? follower.follow(ledIn(packet, led, traced)) : raw;
      const path = pathOf(traced);
      const told = `${path.at(-1)?.verdict} by ${path.map(({ chain, by }) => `${chain} ${by}`).join(' > ')}`;
      const said = `${fate.outcome} by ${decisionsIn(fate.rule).join(' > ')}`;
      if (told !== said) t.fail(`${text}: ${told}, and not ${said}`);
      if (fate.outcome !== 'would deny') count[fate.outcome] += 1;
      if (packet.state === 'established' || packet.state === 'invalid') count[packet.state] += 1;
      if (isLed) count.led += 1;
      ways.add(`${i} ${told}`);
    }
  }
  t.comment(`${JSON.stringify(count)}, ${ways.size} ways through ${POLICIES} policies, seed ${SEED}`);
  const least = { accept: 10, drop: 10, established: 4, invalid: 2, led: 0.5 };
  for (const what of ['accept', 'drop', 'established', 'invalid', 'led'] as const)
    t.ok(count[what] >= least[what] * POLICIES, `${count[what]} were ${what}`);
  t.end();
});
