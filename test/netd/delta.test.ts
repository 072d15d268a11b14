import * as fc from 'fast-check';
import t, { type Test } from 'tap';
import { long, seedOf } from '../support/long.ts';
import { quarantineElements, withQuarantine } from '../../src/segmentation/quarantine.ts';
import { canonical, fingerprint, objectsOf } from '../../src/segmentation/canonical.ts';
import { compile } from '../../src/segmentation/compile.ts';
import { delta } from '../../src/segmentation/delta.ts';
import type { Policy } from '../../src/segmentation/policy.ts';
import { prove } from '../../src/segmentation/prove.ts';
import { render } from '../../src/segmentation/render.ts';
import { anyPolicy } from '../segmentation/any-policy.ts';
import { afterSteps } from '../segmentation/listed.ts';
import { rulesOf } from '../segmentation/policies.ts';
import { noRules } from '../support/namespace.ts';

// From what a kernel lists to what is declared, in one transaction: what the kernel holds then is compared with what it
// holds where the same rules were loaded into an empty one.

const skip = noRules();

/** How many random pairs of policies; more by night. */
const PAIRS = Number(process.env['DELTA_PAIRS'] ?? '20');
const SEED = seedOf('DELTA_SEED', 3);

const listed = (t: Test, cases: readonly (readonly string[])[]): string[] =>
  afterSteps(t, cases).map((listing) => listing ?? '');

const shown = (listing: string): string => fingerprint(canonical(listing));
const policies = (): Policy[] => fc.sample(anyPolicy, { numRuns: PAIRS + 1, seed: SEED });

t.test('what was generated and what the kernel lists of it are canonically the same', { skip }, async (t) => {
  const documents = policies().map((policy) => render(compile(policy)));
  const lists = listed(
    t,
    documents.map((document) => [document]),
  );

  for (const [i, document] of documents.entries()) {
    t.equal(shown(lists[i] ?? ''), fingerprint(canonical(document)));
    t.same(delta(lists[i], document).document, undefined, 'there is nothing to do');
  }
});

t.test('whatever was there, the transaction ends in what is declared', { skip }, async (t) => {
  const documents = policies().map((policy) => render(compile(policy)));
  const fresh = listed(
    t,
    documents.map((document) => [document]),
  );
  const deltas = documents.slice(1).map((document, i) => delta(fresh[i], document));

  const lists = listed(
    t,
    deltas.map(({ document = '' }, i) => [documents[i] ?? '', document].filter((step) => step !== '')),
  );

  const replaced = deltas.flatMap(({ replaces }) => replaces);
  for (const [i, listing] of lists.entries()) {
    t.equal(shown(listing), shown(fresh[i + 1] ?? ''), `pair ${i}`);
    t.same(delta(listing, documents[i + 1] ?? '').document, undefined, 'and again there is nothing to do');
    const policy = policies()[i + 1];
    if (policy !== undefined) t.equal(prove(policy, listing).proven, true);
  }
  t.comment(`${lists.length} pairs, seed ${SEED}; replaced: ${[...new Set(replaced)].join('; ') || 'never'}`);
});

const PLANT = `
gateway: { id: plant7 }
zones:
  control:     { vlan: 10, subnet: 10.20.10.0/24 }
  supervision: { vlan: 40, subnet: 10.20.40.0/24 }
  uplink:      { interface: eth0 }
conduits:
  - { from: supervision, to: control, allow: [modbus-tcp], because: "HMI reads the presses" }
segmentation: { mode: enforce, management: { zone: uplink, from: [10.1.2.0/24], allow: [ssh] } }
`;

/** What nft lists of a named object, without its handle. */
function object(listing: string, name: string): unknown {
  const found = objectsOf(listing)?.find(({ inside }) => inside['name'] === name);
  return { ...found?.inside, handle: undefined };
}

t.test('whatever a stranger did to the table is undone, and nothing else is touched', { skip }, async (t) => {
  const suspect = { mac: '02:00:00:00:00:66', addresses: ['10.20.10.66'] };
  const document = withQuarantine(rulesOf(PLANT), quarantineElements([suspect]));
  const strange = [
    'add element inet sluice q_ip_4 { 10.20.10.77 }',
    'delete element inet sluice q_mac { 02:00:00:00:00:66 }',
    'add rule inet sluice g_forward accept',
    'insert rule inet sluice g_forward accept',
    'flush chain inet sluice g_input',
    'chain inet sluice g_forward { policy accept; }',
    'delete element inet sluice m_pairs { vlan40 . vlan10 }',
    'flush map inet sluice m_pairs',
    'add element inet sluice m_pairs { wlan0 . vlan10 : accept }',
    'add element inet sluice s_ipv6 { wlan0 }',
    'add counter inet sluice theirs; add rule inet sluice g_output counter name theirs accept',
    'add set inet sluice theirs { type ipv4_addr; flags interval; }; add element inet sluice theirs { 10.0.0.0/8 }; add rule inet sluice g_output ip daddr @theirs accept',
    'add chain inet sluice theirs; add rule inet sluice theirs accept; insert rule inet sluice g_forward jump theirs',
    '{"nftables":[{"add":{"chain":{"family":"inet","table":"sluice","name":"drop","type":"filter","hook":"input","prio":-400,"policy":"accept"}}}]}',
    'add chain inet sluice theirs; add element inet sluice m_pairs { wlan0 . vlan20 : goto theirs }',
    'delete element inet sluice m_pairs { vlan40 . vlan10 }; add element inet sluice m_pairs { vlan40 . vlan10 : accept }',
    'add element inet sluice r_supervision_control_4 { 10.20.40.5 . 10.20.11.1-10.20.11.9 . udp . 1-9 : accept }',
    'add limit inet sluice theirs { rate 1/second }',
    'add quota inet sluice theirs { over 1 mbytes }',
  ].map((steps) => steps.replaceAll('; add', '\nadd').replaceAll('; insert', '\ninsert'));
  const [fresh = '', ...changed] = listed(t, [[document], ...strange.map((change) => [document, change])]);
  const deltas = changed.map((listing) => delta(listing, document));

  const healed = listed(
    t,
    deltas.map((one, i) => [document, strange[i] ?? '', one.document ?? '']),
  );

  for (const [i, listing] of healed.entries()) {
    t.not(shown(changed[i] ?? ''), shown(fresh), `seen: ${strange[i]}`);
    t.equal(shown(listing), shown(fresh), `undone: ${strange[i]}`);
    t.match(object(listing, 'q_ip_4'), { elem: ['10.20.10.66'] }, 'quarantine stays');
    t.match(object(listing, 'q_mac'), { elem: ['02:00:00:00:00:66'] });
    const replaces = deltas[i]?.replaces ?? [];
    t.equal(replaces.length > 0, /limit|quota/.test(strange[i] ?? ''), replaces.join('; '));
  }
});

t.test(
  'a changed element is two commands, and nothing that stays is mentioned',
  { skip: skip || long },
  async (t) => {
    const document = rulesOf(PLANT);
    const [listing = ''] = listed(t, [[document]]);
    const wider = rulesOf(PLANT.replace('allow: [modbus-tcp]', 'allow: [modbus-tcp, tcp/4840]'));

    const { document: change = '', changes, replaces } = delta(listing, wider);

    t.same(replaces, []);
    t.same(changes, { chains: 0, elementsAdded: 1, elementsDeleted: 0, objectsAdded: 0, objectsDeleted: 0 });
    t.equal(change.match(/^\{"(?:add|delete|flush)"/gm)?.length, 1, 'one command');
    t.match(change, /"elem":\[\[\{"concat":\[.*"tcp",4840\]\}/);
  },
);

t.test(
  'counters go on counting, also where the table has to be replaced',
  { skip: skip || long },
  async (t) => {
    const document = rulesOf(PLANT);
    const counted = document.replace(/(\{"counter":\{[^}]*)\}/g, '$1,"packets":7,"bytes":700}');
    const observing = rulesOf(PLANT.replace('mode: enforce', 'mode: observe'));
    const moved = document.replaceAll('"prio":-5', '"prio":-6');
    const [listing = ''] = listed(t, [[counted]]);
    const [inPlace, replaced] = [delta(listing, observing), delta(listing, moved)];

    const [after = '', anew = ''] = listed(t, [
      [counted, inPlace.document ?? ''],
      [counted, replaced.document ?? ''],
    ]);

    t.same(inPlace.replaces, []);
    t.match(replaced.replaces, [/chain g_forward hangs on another hook/, /g_input/, /g_output/]);
    const counter = { name: 'n_flow_conduit_supervision_control_0', packets: 7, bytes: 700 };
    t.match(object(after, counter.name), counter);
    t.match(object(anew, counter.name), counter);
    t.match(object(after, 'g_forward'), { policy: 'accept' });
    t.equal(shown(anew), fingerprint(canonical(moved)));
  },
);

t.test('what cannot be read is replaced, and segmentation that is off takes the table away', async (t) => {
  const document = rulesOf(PLANT);
  const off = render({ loaded: false, counters: [], sets: [], maps: [], portMaps: [], chains: [] });

  t.match(delta('{"nftables": [{"table": {"fl', document), { document, replaces: [/cannot be read/] });
  t.match(delta(undefined, document), { document, replaces: [/there is no table yet/] });
  t.match(delta(undefined, off), { document: undefined, replaces: [] });
  t.match(delta(document, off), { document: /delete/, replaces: [/taken away/] });
});
