import * as fc from 'fast-check';
import t from 'tap';
import { seedOf } from '../support/long.ts';
import { parseConfig } from '../../src/config/parse.ts';
import { epochMs } from '../../src/core/units.ts';
import { compile } from '../../src/segmentation/compile.ts';
import { contradictionsOf, declare } from '../../src/segmentation/declare.ts';
import { guardsOf } from '../../src/segmentation/guards.ts';
import type { Flow, Policy } from '../../src/segmentation/policy.ts';
import { prove } from '../../src/segmentation/prove.ts';
import { render } from '../../src/segmentation/render.ts';
import type { KeyPart } from '../../src/segmentation/ruleset.ts';
import { noRules } from '../support/namespace.ts';
import { anyGuardedPlant } from './any-guarded.ts';
import { anyPolicy } from './any-policy.ts';
import { listings, told } from './listed.ts';

// Whatever is guarded, and however: elements never meet, rules and proxy agree where each connection ends, and what the
// kernel holds is proven to be exactly that, which no other guard is.

const skip = noRules();
/** More by night. */
const RUNS = Number(process.env['PROOF_RUNS'] ?? '8');
const SEED = seedOf('PROOF_SEED', 7);
const NOW = epochMs(Date.UTC(2027, 0, 1));
process.env['TZ'] = 'UTC'; // as nft is called

function read(yaml: string) {
  const parsed = parseConfig(yaml, '/plant/gateway.yaml', 'gateway.yaml', contradictionsOf);
  if (!('config' in parsed)) throw new Error(yaml);
  const declared = declare(parsed.config);
  if (!('policy' in declared)) throw new Error(yaml);
  return { config: parsed.config, policy: declared.policy };
}

const meet = (a: readonly KeyPart[], b: readonly KeyPart[]): boolean =>
  a.every((part, i) => {
    const other = b[i];
    if (typeof part === 'string' || typeof other !== 'object') return part === other;
    return part.low <= other.high && other.low <= part.high;
  });

const apart = (policy: Policy): boolean => {
  const { maps, portMaps } = compile(policy);
  return [...maps, ...portMaps].every(({ elements }) =>
    elements.every((one, i) => elements.every((other, k) => k <= i || !meet(one.key, other.key))),
  );
};

const policies = (): Policy[] =>
  fc.sample(anyGuardedPlant, { numRuns: RUNS, seed: SEED }).map((yaml) => read(yaml).policy);

t.test('no two elements of any map meet, whatever is guarded', async () => {
  fc.assert(
    fc.property(anyGuardedPlant, (yaml) => apart(read(yaml).policy)),
    { numRuns: 30 },
  );
  fc.assert(fc.property(anyPolicy, apart), { numRuns: 60 });
});

/** Path, address and port of a device, and the port of the gateway. */
const ends = (list: readonly (readonly [string, bigint, number, number])[]): string[] =>
  list.map((one) => one.join(' ')).toSorted();

t.test('rules lead each connection where the proxy listens for it', async (t) => {
  const grades = { enforced: 0, filtered: 0 };
  fc.assert(
    fc.property(anyGuardedPlant, (yaml) => {
      const { config, policy } = read(yaml);
      const rules = ends(
        policy.flows.flatMap(({ path, ports, guard }) =>
          (guard?.listeners ?? []).map(({ address, port }) => [path, address, ports[0], port] as const),
        ),
      );
      // Clients of one family never reach devices of the other one.
      const proxy = ends(
        guardsOf(config).flatMap(({ path, limits, clients, targets }) =>
          limits.grade === 'filtered'
            ? []
            : targets
                .filter(({ family }) => (family === 4 ? clients.v4 : clients.v6).length > 0)
                .map(({ address, port, listener }) => [path, address, port, listener] as const),
        ),
      );
      t.same(rules, proxy);
      t.equal(new Set(proxy.map((one) => one.split(' ').at(-1))).size, proxy.length, 'a port for each');
      for (const { guard } of policy.flows) if (guard !== undefined) grades[guard.grade] += 1;
    }),
    { numRuns: 40, seed: SEED },
  );
  t.ok(grades.enforced > 15 && grades.filtered > 15, JSON.stringify(grades));
});

t.test('what the kernel holds of it is proven', { skip }, (t) => {
  const all = policies();
  const listed = listings(
    t,
    all.map((policy) => ({ json: render(compile(policy)), change: '' })),
  );
  for (const [i, policy] of all.entries()) {
    const proof = prove(policy, listed[i] ?? '', NOW);
    t.equal(proof.proven, true, `plant ${i}: ${told(proof).slice(0, 3).join('; ')}`);
  }
  t.end();
});

const OF_LISTENERS = new Set(['at other ports', 'with other knocks']);

/** The same connections, looked into otherwise or not at all. */
const OTHERWISE: Readonly<Record<string, (flow: Flow) => Flow>> = {
  'without the guard': (flow) => ({ ...flow, guard: undefined }),
  'of the other grade': (flow) =>
    flow.guard === undefined
      ? flow
      : {
          ...flow,
          guard:
            flow.guard.grade === 'enforced'
              ? { ...flow.guard, grade: 'filtered', listeners: [] }
              : { ...flow.guard, grade: 'enforced' },
        },
  'at other ports': (flow) =>
    flow.guard === undefined
      ? flow
      : {
          ...flow,
          guard: {
            ...flow.guard,
            listeners: flow.guard.listeners.map((one) => ({ ...one, port: one.port - 1 })),
          },
        },
  'with other knocks': (flow) =>
    flow.guard === undefined
      ? flow
      : {
          ...flow,
          guard: {
            ...flow.guard,
            listeners: flow.guard.listeners.map((one) => ({
              ...one,
              knock: { ...one.knock, to: one.knock.to + 1n },
            })),
          },
        },
};

t.test('no other guard is proven by its rules', { skip }, (t) => {
  const pairs = policies().flatMap((policy) => {
    const guarded = policy.flows.filter(({ guard }) => guard !== undefined).slice(0, 2);
    return guarded.map((flow) => ({ policy, flow }));
  });
  t.ok(pairs.length >= RUNS / 2, `${pairs.length} guarded flows`);
  const listed = listings(
    t,
    pairs.map(({ policy }) => ({ json: render(compile(policy)), change: '' })),
  );
  for (const [i, { policy, flow }] of pairs.entries()) {
    for (const [how, change] of Object.entries(OTHERWISE)) {
      if (OF_LISTENERS.has(how) && flow.guard?.grade === 'filtered') continue;
      const flows = policy.flows.map((one) => (one === flow ? change(one) : one));
      const proof = prove({ ...policy, flows }, listed[i] ?? '', NOW);
      t.equal(proof.proven, false, `${policy.mode}: ${flow.name}, ${flow.guard?.grade}, ${how}`);
    }
  }
  t.end();
});
