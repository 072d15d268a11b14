import t, { type Test } from 'tap';
import { compile } from '../../src/segmentation/compile.ts';
import type { AddressRange, Flow, Policy, Side } from '../../src/segmentation/policy.ts';
import { type Proof, prove } from '../../src/segmentation/prove.ts';
import { render } from '../../src/segmentation/render.ts';
import { inNamespace, noRules } from '../support/namespace.ts';

// A plant of 1,008 devices with an address of each family, and a conduit for every pair of its zones: 420.
const ZONES = 21;
const DEVICES = 48;
/** What is promised for a thousand devices and four hundred conduits. */
const PROMISE_MS = 2_000;

const address = (zone: number, host: number) => (10n << 24n) + (BigInt(zone) << 8n) + BigInt(host);
const address6 = (zone: number, host: number) => (0xfd00n << 112n) + (BigInt(zone) << 64n) + BigInt(host);
/** Every other address, so that no two hosts are a range. */
const hosts = (of: typeof address, zone: number, count: number): AddressRange[] =>
  Array.from({ length: count }, (_, i) => of(zone, 1 + 2 * i)).map((low) => ({ low, high: low }));

const GATEWAY: Side = {
  zone: 'gateway',
  interface: undefined,
  v4: [{ low: 0n, high: (1n << 32n) - 1n }],
  v6: [{ low: 0n, high: (1n << 128n) - 1n }],
};
const zones = Array.from({ length: ZONES }, (_, zone) => ({
  name: `z${zone}`,
  interface: `vlan${zone}`,
  v4: [{ low: address(zone, 0), high: address(zone, 255) }],
  v6: [{ low: address6(zone, 0), high: address6(zone, 255) }],
}));
const side = (zone: number, count: number): Side => ({
  zone: `z${zone}`,
  interface: `vlan${zone}`,
  v4: hosts(address, zone, count),
  v6: hosts(address6, zone, count),
});
const modbus = {
  protocol: 'tcp',
  ports: [502, 502],
  because: 'a reason',
  path: 'conduits[0]',
  devices: [],
} as const;

/** Each conduit from `from` hosts to `to` hosts: as many elements as their product. */
function plant(from: number, to: number): Policy {
  const polls = zones.map(
    ({ name }, zone): Flow => ({
      ...modbus,
      name: `poll-${name}`,
      kind: 'poll',
      from: GATEWAY,
      to: side(zone, DEVICES),
    }),
  );
  const conduits = zones.flatMap((a, i) =>
    zones.flatMap((b, j): Flow[] =>
      i === j
        ? []
        : [
            {
              ...modbus,
              name: `conduit-${a.name}-${b.name}-0`,
              kind: 'conduit',
              from: side(i, from),
              to: side(j, to),
            },
          ],
    ),
  );
  return { mode: 'enforce', zones, flows: [...polls, ...conduits] };
}

function listed(t: Test, policy: Policy): string {
  const folder = t.testdir({ 'rules.json': render(compile(policy)) });
  const ran = inNamespace('cd "$1"; nft -j -f rules.json; nft -j list table inet sluice', folder);
  if (ran.status !== 0) throw new Error(ran.stderr);
  return ran.stdout;
}

/** `spent`: milliseconds of one core. */
function timed(policy: Policy, listing: string): { readonly proof: Proof; readonly spent: number } {
  const before = process.threadCpuUsage();
  const proof = prove(policy, listing);
  return { proof, spent: Math.round(process.threadCpuUsage(before).user / 1_000) };
}

t.test(
  'a thousand devices and 420 conduits are proven, and one element more is found',
  { skip: noRules() },
  (t) => {
    const policy = plant(10, 10);
    const listing = listed(t, policy);

    const { proof, spent } = timed(policy, listing);

    t.equal(proof.proven, true);
    t.comment(
      `${spent} ms of one core for 84,000 elements, ${Math.round(listing.length / 1_000)} kB of listing`,
    );
    // A square of their number would be minutes.
    t.ok(spent < PROMISE_MS);

    const smuggled = listing.replace(
      '["10.0.0.1", "10.0.1.1", "tcp", 502]',
      '["10.0.0.1", "10.0.1.2", "tcp", 502]',
    );
    t.not(smuggled, listing);
    const failed = prove(policy, smuggled);
    t.match(failed, {
      proven: false,
      differences: [{ packet: { source: 0x0a00_0001, port: 502 }, accepted: true }],
    });
    t.end();
  },
);

t.test(
  'conduits from 48 hosts to 48 cost sets and not pairs, and one host more is found',
  { skip: noRules() },
  (t) => {
    const policy = plant(DEVICES, DEVICES);
    const rendered = render(compile(policy));
    const listing = listed(t, policy);

    const { proof, spent } = timed(policy, listing);

    t.equal(proof.proven, true);
    t.comment(
      `${spent} ms of one core for 1.9 million pairs, ${Math.round(rendered.length / 1_000)} kB of rules`,
    );
    t.ok(spent < PROMISE_MS);
    t.ok(rendered.length < 5_000_000, 'nft loads it within a second');

    const smuggled = listing.replace('"elem": ["10.0.0.1", ', '"elem": ["10.0.0.2", "10.0.0.1", ');
    t.not(smuggled, listing);
    t.match(prove(policy, smuggled), {
      proven: false,
      differences: [{ packet: { source: 0x0a00_0002, port: 502 }, accepted: true }],
    });
    t.end();
  },
);
