import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { long } from '../support/long.ts';
import { differences, type Probed } from '../../src/cli/firewall-probe-result.ts';
import { forMachine, forPerson } from '../../src/cli/firewall-probe-text.ts';
import { portsOf, probePolicy } from '../../src/cli/firewall-probe.ts';
import { parseConfig } from '../../src/config/parse.ts';
import { compile } from '../../src/segmentation/compile.ts';
import { guardsOf } from '../../src/segmentation/guards.ts';
import { render } from '../../src/segmentation/render.ts';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { REPOSITORY } from '../support/process.ts';
import { until } from '../support/wait.ts';
import { policyOf } from '../segmentation/policies.ts';
import { bridged, guarded, plant } from './probe-plants.ts';

// The twin that a person asks for: real packets, expected from the declaration alone.

const skip =
  noRules() ||
  missingPeer('ip', 'iproute2') ||
  (process.getuid?.() === 0 ? false : 'only root may make network namespaces');

async function probed(
  yaml: string,
  change: (rules: string) => readonly string[] = (rules) => [rules],
): Promise<Probed> {
  const policy = policyOf(yaml);
  const file = 'gateway.yaml';
  const parsed = parseConfig(yaml, file);
  if (!('config' in parsed)) throw new Error(JSON.stringify(parsed.problems));
  const folder = mkdtempSync(join(tmpdir(), 'sluice-probe-'));
  try {
    writeFileSync(join(folder, file), yaml);
    return await probePolicy(policy, new AbortController().signal, {
      documents: change(render(compile(policy))),
      guards: { of: guardsOf(parsed.config), file: join(folder, file) },
      ports: portsOf(parsed.config),
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const claims = ({ cells, seen }: Probed): string[] =>
  cells.cells
    .flatMap(({ from, kind, claim }, i) => (claim === undefined ? [] : [`${from}: ${kind} ${seen[i]}`]))
    .toSorted();

/** What became of requests, whoever asked. */
const requests = ({ cells, seen }: Probed): string[] => [
  ...new Set(
    cells.cells.flatMap(({ to, request }, i) =>
      request === undefined ? [] : [`${to}: ${request.text} ${seen[i]}`],
    ),
  ),
];

const document = (...commands: readonly object[]): string => JSON.stringify({ nftables: commands });
const [AGENT, GUARD] = ['src/netd/twin-agent.ts', 'src/cli/firewall-probe-guard.ts'] as const;

/** Hosts of the twin that a probe builds, and their guard: processes that it started itself, whoever else probes. */
function startedBy(probe: number, program: string): number[] {
  return globSync('/proc/[0-9]*/stat').flatMap((file) => {
    try {
      // Behind the name, which may hold anything: state and parent.
      const [, parent] = readFileSync(file, 'utf8')
        .replace(/^.*\) /s, '')
        .split(' ');
      const pid = Number(file.split('/')[2]);
      return Number(parent) === probe && lineOf(pid).includes(`${REPOSITORY}${program}`) ? [pid] : [];
    } catch {
      return []; // it has just ended
    }
  });
}

const lineOf = (pid: number): string =>
  existsSync(`/proc/${pid}/cmdline`) ? readFileSync(`/proc/${pid}/cmdline`, 'utf8') : '';

/** A connection that nobody answers: of what is not declared, while packets are sent. */
const SYN_SENT = ' 02 ';
const isSending = (host: number): boolean => {
  try {
    return readFileSync(`/proc/${host}/net/tcp`, 'utf8').includes(SYN_SENT);
  } catch {
    return false; // it has just ended
  }
};

const outside = (): string =>
  spawnSync('sh', ['-c', 'ip netns list; ip -o link | cut -d: -f2'], { encoding: 'utf8' }).stdout;

t.test('what is declared passes in the twin, and nothing else', { skip }, async (t) => {
  const result = await probed(plant('enforce'));

  t.same(differences(result), []);
  const passed = result.cells.cells.filter((_, i) => result.seen[i] === 'answered');
  for (const family of [4, 6]) {
    for (const kind of ['tcp', 'udp', 'icmp']) {
      const some = passed.filter((cell) => cell.family === family && cell.protocol === kind);
      t.ok(some.length > 0, `${kind} over IPv${family} passes somewhere`);
    }
  }
  const kinds = new Set(result.cells.cells.map(({ kind }) => kind));
  const torn = ['fragments', 'small fragments', 'tiny fragments'];
  t.same([...kinds].toSorted(), ['answer unasked', 'foreign source', 'new', ...torn].toSorted());
  for (const kind of torn)
    t.ok(
      passed.some((cell) => cell.kind === kind),
      `${kind} pass where that is declared`,
    );
  t.match(forPerson(result), /as declared, all of them/);
});

const atHead = (document: string, chain: string, expr: readonly object[]): string =>
  document.replace(
    new RegExp(`\\{"add":\\{"rule":\\{"family":"inet","table":"sluice","chain":"${chain}"`),
    (first) =>
      `${JSON.stringify({ add: { rule: { family: 'inet', table: 'sluice', chain, expr } } })},${first}`,
  );
const matches = (left: object, right: unknown): object => ({ match: { op: '==', left, right } });
const port = (protocol: string, field: string): object => ({ payload: { protocol, field } });

/** `office -> pump-1 tcp/502 answered`, each once. */
const found = (probed: Probed): string[] => [
  ...new Set(
    differences(probed).map(({ cell, seen }) => {
      const { from, to, kind, protocol, port, sourcePort } = cell;
      const service = kind === 'answer unasked' ? `${protocol}/${sourcePort} unasked` : `${protocol}/${port}`;
      return `${from.split('/')[0]} -> ${to} ${service} ${seen}`;
    }),
  ),
];

t.test('what is opened past a declaration is found, between zones without one too', { skip }, async (t) => {
  const accept = { accept: null };
  const element = {
    family: 'inet',
    table: 'sluice',
    name: 'r_office_control_4',
    elem: [[{ concat: [{ prefix: { addr: '10.20.50.0', len: 24 } }, '10.20.10.31', 'tcp', 23] }, accept]],
  };
  const result = await probed(guarded('enforce'), (rules) => {
    const office = matches({ meta: { key: 'iifname' } }, 'vlan50');
    let opened = atHead(rules, 'g_forward', [office, matches(port('tcp', 'dport'), 502), accept]);
    opened = atHead(opened, 'g_forward', [matches(port('udp', 'sport'), 5_010), accept]);
    opened = atHead(opened, 'g_input', [matches(port('tcp', 'dport'), { range: [20_480, 24_575] }), accept]);
    return [opened, document({ add: { element } })];
  });

  const all = found(result);
  for (const one of [
    'office -> control/pump-1 tcp/502 answered',
    'office -> control/press-1 tcp/502 answered',
    'office -> control/press-1 tcp/23 answered',
    'control -> office/nobody udp/5010 unasked answered',
    'office -> gateway tcp/20480 answered',
    'office -> gateway tcp/24575 answered',
  ])
    t.ok(all.includes(one), one);
  const others = all.filter(
    (one) =>
      !/^office -> .* tcp\/502 |^office -> control\/press-1 tcp\/23 | udp\/5010 unasked |-> gateway tcp\/2\d{4} /.test(
        one,
      ),
  );
  t.same(others, [], 'and nothing else is');
  t.same(requests(result).toSorted(), REQUESTS);
  const text = forPerson(result);
  t.match(
    text,
    /differ from what is declared:\n(.*\n)* {2}office\/\S+ 10\.20\.50\.\d+ -> control\/press-1 10\.20\.10\.31 tcp\/23: is not declared, and was answered\n/,
  );
  t.match(text, /\n {2}nothing +answered +IPv4 +office\/nobody -> control\/press-1: .*tcp\/23/);
  t.match(text, /\n {2}refused +refused +IPv4 +\S+ -> control\/pump-1: .*tcp\/502 \(read holding:10\)/);
  t.match(forMachine(result), { differences: [{ expected: 'nothing', declared: false }] });
});

const REQUESTS = [
  'control/press-1: read coil:0 answered',
  'control/press-1: write holding:0 nothing',
  'control/pump-1: read holding:0 answered',
  'control/pump-1: read holding:10 refused',
  'control/pump-1: write holding:0 refused',
  'control/pump-1: write holding:5 answered',
  'control/pump-2: read holding:0 answered',
  'control/pump-2: read holding:10 refused',
  'control/pump-2: write holding:0 refused',
  'control/pump-2: write holding:5 answered',
];

t.test('guarded conduits let pass what is declared, each by its grade', { skip: skip || long }, async (t) => {
  const result = await probed(guarded('enforce'));

  t.same(differences(result), []);
  t.same(requests(result).toSorted(), REQUESTS);
});

t.test('at the access ports of a bridge nobody is somebody else', { skip }, async (t) => {
  const result = await probed(bridged('enforce'));

  t.same(differences(result), []);
  t.same(claims(result), [
    'control/nobody: foreign arp nothing',
    'control/nobody: foreign hardware nothing',
    'control/nobody: own arp nothing',
    'control/press-1: foreign arp nothing',
    'control/press-1: foreign hardware nothing',
    'control/press-1: own arp arrived',
    'control/press-2: foreign arp nothing',
    'control/press-2: foreign hardware nothing',
    'control/press-2: own arp arrived',
    'office/nobody: own arp arrived',
  ]);
  const mute = result.cells.cells.filter(({ from }) => from === 'control/nobody');
  t.ok(mute.length > 5 && mute.every(({ declared }) => !declared), 'a stranger at such a port says nothing');
  const text = forPerson(result);
  t.match(text, /arrived +arrived +IPv4 +control\/press-1 -> gateway: arp \(own arp\)/);
  t.match(text, /nothing +nothing +IPv4 +control\/press-1 -> gateway: .*arp \(foreign arp\)/);
});

t.test('without rules everything arrives: the twin itself is sound', { skip: skip || long }, async (t) => {
  const result = await probed(plant('enforce'), () => []);

  const lost = result.cells.cells.filter(
    (cell, i) =>
      result.seen[i] !== (cell.kind === 'foreign source' ? 'arrived' : 'answered') &&
      cell.kind !== 'foreign source',
  );
  t.same(lost, []);
  t.ok(result.cells.cells.every((cell, i) => cell.kind !== 'foreign source' || result.seen[i] !== 'nothing'));
  t.equal(differences(result).length, result.cells.cells.filter(({ declared }) => !declared).length);
});

t.test('a foreign rule that takes away is found', { skip: skip || long }, async (t) => {
  const foreign = { family: 'inet', table: 'foreign' };
  const less = await probed(plant('enforce'), (rules) => [
    rules,
    document(
      { add: { table: { family: 'inet', name: 'foreign' } } },
      {
        add: {
          chain: { ...foreign, name: 'f', type: 'filter', hook: 'forward', prio: 0, policy: 'accept' },
        },
      },
      {
        add: {
          rule: {
            ...foreign,
            chain: 'f',
            expr: [
              { match: { op: '==', left: { payload: { protocol: 'tcp', field: 'dport' } }, right: 502 } },
              { drop: null },
            ],
          },
        },
      },
    ),
  ]);
  const lacking = differences(less);
  t.ok(lacking.length > 0);
  for (const { cell, seen } of lacking) {
    t.match(cell, { protocol: 'tcp', port: 502, declared: true });
    t.equal(seen, 'nothing');
  }
});

t.test(
  'observing, everything passes and is counted; also with the addresses of the demonstration',
  { skip: skip || long },
  async (t) => {
    const open = await probed(guarded('observe'));
    t.same(differences(open), []);
    t.ok(requests(open).every((line) => line.endsWith(' answered')));
    const unruled = differences(await probed(guarded('enforce'), () => []));
    const slipped = unruled.filter(({ cell }) => cell.request !== undefined);
    t.ok(slipped.length > 0 && slipped.every(({ seen }) => seen === 'answered'), 'no guard is asked');

    const ports = await probed(bridged('observe'));
    t.same(differences(ports), []);
    t.ok(claims(ports).every((line) => line.endsWith(' arrived')));
    const unguarded = await probed(bridged('enforce'), () => []);
    t.ok(
      claims(unguarded).every((line) => line.endsWith(' arrived')),
      'without the table everybody is believed',
    );

    const small = await probed(plant('observe'));
    t.same(differences(small), []);
    t.ok(small.wouldDeny > 0);

    const pair = plant('enforce').replace(
      'because: "syslog"',
      'because: "syslog", observe-until: 2100-01-01',
    );
    const between = await probed(pair);
    t.same(differences(between), []);
    t.ok(between.wouldDeny > 0);

    const demo = spawnSync(process.execPath, [`${REPOSITORY}src/main.ts`, 'firewall', 'probe', '--json'], {
      cwd: REPOSITORY,
      encoding: 'utf8',
      maxBuffer: 64e6,
    });
    t.equal(demo.status, 0, demo.stderr);
    t.match(JSON.parse(demo.stdout), { mode: 'observe', 'one-host-for-each': 'device', differences: [] });
  },
);

for (const how of ['SIGINT', 'SIGTERM', 'SIGKILL', 'a host that is killed'] as const) {
  t.test(`nothing is left after ${how}`, { skip: skip || (how !== 'SIGINT' && long) }, async (t) => {
    const before = outside();
    const folder = mkdtempSync(join(tmpdir(), 'sluice-probe-'));
    t.teardown(() => rmSync(folder, { recursive: true }));
    writeFileSync(join(folder, 'gateway.yaml'), guarded('enforce'));
    const child = spawn(process.execPath, [join(REPOSITORY, 'src/main.ts'), 'firewall', 'probe'], {
      cwd: folder,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
    const over = once(child, 'close').then(([code]: unknown[]) => code);
    const probe = child.pid ?? Number.NaN;
    const twin = await until('packets of the twin, and its guard', () => {
      if (child.exitCode !== null) throw new Error(`it ended before that, with ${child.exitCode}: ${said}`);
      const hosts = startedBy(probe, AGENT);
      const guards = startedBy(probe, GUARD);
      return guards.length > 0 && hosts.some(isSending) ? [...hosts, ...guards] : undefined;
    });
    const [first = Number.NaN] = twin;
    if (how === 'a host that is killed') process.kill(first, 'SIGKILL');
    else child.kill(how);
    const code = await over;

    await until('the end of all hosts', () => twin.every((pid) => !lineOf(pid).includes(REPOSITORY)));
    t.equal(outside(), before, 'no namespace and no interface more than before');
    if (how === 'SIGKILL') return;
    t.equal(code, 1);
    t.match(
      said,
      how === 'a host that is killed'
        ? /the twin host .*SIGKILL.*nothing is left/s
        : /the probe was stopped; nothing is left/,
    );
  });
}
