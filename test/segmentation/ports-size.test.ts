import t, { type Test } from 'tap';
import { compile } from '../../src/segmentation/compile.ts';
import type { Policy } from '../../src/segmentation/policy.ts';
import { prove } from '../../src/segmentation/prove.ts';
import { render } from '../../src/segmentation/render.ts';
import { inNamespace, noRules } from '../support/namespace.ts';

const PORTS = ['lan1', 'lan2', 'lan3', 'lan4'];
const PORT_RULES = PORTS.map((name) => ({ name, unknown: 'deny', within: 'deny' }) as const);

/** In no order, so that no two that follow one another are a range. */
const scattered = (i: number): number => (i * 40_503 + 12_345) % 65_536;
const macOf = (i: number): string => {
  const [high, low] = [scattered(i) >> 8, scattered(i) & 255];
  return `02:00:00:01:${[high, low].map((byte) => byte.toString(16).padStart(2, '0')).join(':')}`;
};

/** Devices that may be at every port, with an address of each family. */
function plant(devices: number): Policy {
  const hosts = Array.from({ length: devices }, (_, i) => ({
    mac: macOf(i),
    ports: PORTS,
    v4: [(10n << 24n) + BigInt(scattered(i))],
    v6: [(0xfd00n << 112n) + BigInt(scattered(i))],
  }));
  return {
    mode: 'enforce',
    zones: [],
    flows: [],
    guard: { ports: PORT_RULES, hosts, own: { v4: [(11n << 24n) + 1n], v6: [1n + (0xfd01n << 112n)] } },
  };
}

function listed(t: Test, policy: Policy): string {
  const folder = t.testdir({ 'rules.json': render(compile(policy)) });
  const script =
    'cd "$1"; nft -j -f rules.json; for one in inet bridge; do nft -j list table $one sluice; done';
  const ran = inNamespace(script, folder);
  if (ran.status !== 0) throw new Error(ran.stderr);
  const [inet = '', bridge = ''] = ran.stdout.trim().split('\n');
  return `${inet.slice(0, -2)},${bridge.slice('{"nftables": ['.length)}`;
}

function spent(work: () => void): number {
  const before = process.threadCpuUsage();
  work();
  const { user, system } = process.threadCpuUsage(before);
  return Math.round((user + system) / 1_000);
}

t.test(
  'a thousand devices at four ports are proven, and one element more is found',
  { skip: noRules() },
  (t) => {
    const [small, large] = [plant(250), plant(1_000)];
    const [few, many] = [listed(t, small), listed(t, large)];
    prove(small, few); // what runs for the first time is slow

    const quarter = spent(() => t.equal(prove(small, few).proven, true));
    const whole = spent(() => t.equal(prove(large, many).proven, true));

    t.comment(`${whole} ms of one core for 1,000 devices, ${quarter} ms for 250`);
    // A square of their number would be sixteen times as much, and ten seconds.
    t.ok(whole < 10 * quarter);
    t.ok(whole < 5_000);

    const mac = macOf(1);
    const own = `"lan1", "${mac}", "10.0.${scattered(1) >> 8}.${scattered(1) & 255}"`;
    t.ok(many.includes(own));
    const smuggled = many.replace(own, `"lan1", "${mac}", "10.0.${scattered(2) >> 8}.${scattered(2) & 255}"`);
    const failed = prove(large, smuggled);
    t.equal(failed.proven, false);
    t.match(JSON.stringify(failed), /kind ipv4/);
    t.match(JSON.stringify(failed), mac);
    t.end();
  },
);
