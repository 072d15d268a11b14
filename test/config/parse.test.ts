import { readFileSync } from 'node:fs';
import * as fc from 'fast-check';
import t from 'tap';
import type { Config, PointConfig, Problem } from '../../src/config/config.ts';
import { MAX_FILE_CHARACTERS } from '../../src/config/document.ts';
import { parseConfig } from '../../src/config/parse.ts';

const shipped = readFileSync('gateway.yaml', 'utf8');

function right(text: string): Config {
  const parsed = parseConfig(text, '/plant/gateway.yaml');
  if ('config' in parsed) return parsed.config;
  throw new Error(JSON.stringify(parsed.problems));
}

function wrong(text: string): readonly Problem[] {
  const parsed = parseConfig(text, '/plant/gateway.yaml', 'gateway.yaml');
  return 'problems' in parsed ? parsed.problems : [];
}

/** A point of a plant with one class and one device. */
function point(keys: string, protocol = 'modbus', more = ''): PointConfig {
  const at = protocol === 'modbus' ? 'modbus-tcp://10.0.0.5' : 'coap://10.0.0.5';
  const { points } = right(`
gateway: { id: plant }
${more}
zones: { z: { subnet: 10.0.0.0/24 } }
classes: { c: { zone: z, protocol: ${protocol}, points: { p: { ${keys} } } } }
devices: { d: { class: c, at: "${at}" } }`);
  const first = points[0];
  if (first === undefined) throw new Error('no point');
  return first;
}

t.test('the shipped plant is right, and is what its comments say', async (t) => {
  const config = right(shipped);

  t.equal(config.gateway.id, 'plant7-line2');
  t.equal(config.gateway.data, '/plant/data');
  t.same(config.mqtt.embedded, { host: '127.0.0.1', port: 8883 });
  t.equal(config.mqtt.upstream, undefined);
  t.same(config.coap, { listen: { host: '127.20.0.1', port: 5683 } });
  const protocols = config.devices.map(({ endpoint }) => endpoint.protocol);
  t.equal(protocols.filter((protocol) => protocol === 'modbus-tcp').length, 5);
  t.equal(protocols.filter((protocol) => protocol === 'coap').length, 3);
  t.ok(config.devices.every(({ endpoint }) => 'host' in endpoint && endpoint.host.startsWith('127.20.')));
  t.ok(config.points.every(({ published }) => published));

  const hall = config.devices.filter(({ name }) => name.startsWith('meter-hall'));
  t.match(
    hall.map(({ endpoint }) => endpoint),
    [
      { host: '127.20.20.12', port: 1502, unit: 1 },
      { host: '127.20.20.12', port: 1502, unit: 2 },
    ],
  );
});

t.test('a point is its index, and its device knows it', async (t) => {
  const { points, devices } = right(shipped);

  t.ok(points.every(({ index }, i) => index === i));
  for (const device of devices) {
    t.ok(device.points.length > 0, device.name);
    t.ok(
      device.points.every((index) => points[index]?.device === device.name),
      device.name,
    );
  }
  t.equal(devices.flatMap((device) => device.points).length, points.length);
  t.same(
    devices[0]?.points.map((index) => points[index]?.name),
    [
      'voltage-l1',
      'voltage-l2',
      'voltage-l3',
      'active-power',
      'frequency',
      'energy-import',
      'serial-number',
      'breaker',
    ],
  );
});

t.test('what is left out has its default', async (t) => {
  const config = right('gateway: { id: plant }');

  t.match(config, {
    file: '/plant/gateway.yaml',
    gateway: { id: 'plant', data: '/plant/data' },
    mqtt: {
      embedded: { host: '127.0.0.1', port: 8883 },
      upstream: undefined,
      publish: { telemetry: ['*/*'], event: ['*'] },
    },
    coap: undefined,
    zones: [],
    conduits: [],
    devices: [],
    points: [],
    telemetry: {
      retention: { raw: 604_800_000, minute: 7_776_000_000, hour: 157_680_000_000, disk: 2_000_000_000 },
      outbox: 500_000_000,
    },
    segmentation: { mode: 'off', confirmWithin: 120_000 },
  });
  t.match(point('at: "input:0:int16"'), {
    every: 1_000,
    unit: undefined,
    scale: 1,
    offset: 0,
    span: undefined,
    report: { deadband: undefined, minInterval: 0, heartbeat: 900_000 },
    writable: false,
    min: undefined,
    max: undefined,
    published: true,
    recorded: true,
  });
  t.match(point('at: /a', 'coap'), {
    every: 60_000,
    source: { kind: 'coap', path: '/a', mode: 'poll', format: 'auto', type: 'number', pointer: undefined },
  });
});

t.test('every key of a point arrives', async (t) => {
  const modbus = point(
    'at: "holding:5:int32:DCBA", unit: bar, scale: 0.1, offset: -4, deadband: 1%, span: [0, 50], min-interval: 2s, heartbeat: 1h, every: 250ms, history: false, writable: true, min: 1, max: 16',
  );
  t.match(modbus, {
    source: { table: 'holding', address: 5, type: 'int32', length: 2, order: 'DCBA' },
    every: 250,
    unit: 'bar',
    scale: 0.1,
    offset: -4,
    span: { low: 0, high: 50 },
    report: { deadband: { kind: 'span-percent', width: 0.5 }, minInterval: 2_000, heartbeat: 3_600_000 },
    writable: true,
    min: 1,
    max: 16,
    recorded: false,
  });
  const pushed = point(
    'push: true, type: bool, format: senml-json, record: a',
    'coap',
    'coap: { listen: "[fd00::1]:5683" }',
  );
  t.equal(point('at: /a, history: false', 'coap').recorded, false);
  t.match(pushed.source, { path: '/d/p', mode: 'push', type: 'bool', format: 'senml-json', record: 'a' });
  t.match(point('at: "/a?u=m", observe: true, pointer: /x~1y', 'coap').source, {
    path: '/a?u=m',
    mode: 'observe',
    pointer: '/x~1y',
  });
});

t.test('a class gives its devices period, time-out and requests in flight', async (t) => {
  const { devices } = right(`
gateway: { id: plant }
zones: { z: { subnet: "fd00:20::/64" } }
classes: { c: { zone: z, protocol: modbus, timeout: 3s, in-flight: 8, points: { p: { at: "coil:1" } } } }
devices: { d: { class: c, at: "modbus-tcp://[FD00:20::00:5]?unit=17", mac: "02:AB:00:00:00:01" } }`);

  t.match(devices, [
    {
      class: 'c',
      zone: 'z',
      mac: '02:ab:00:00:00:01',
      timeout: 3_000,
      endpoint: { protocol: 'modbus-tcp', host: 'fd00:20::5', port: 502, unit: 17, inFlight: 8 },
    },
  ]);
});

t.test('an upstream replaces the embedded broker unless both are asked for', async (t) => {
  const upstream =
    'upstream: { url: "mqtts://broker.example.com", ca: ./ca.pem, cert: /etc/c.pem, key: k.pem }';
  const one = right(`{ gateway: { id: plant }, mqtt: { ${upstream} } }`);
  const both = right(
    `{ gateway: { id: plant }, mqtt: { embedded: { listen: "127.0.0.1:1" }, ${upstream} } }`,
  );
  const off = right(`{ gateway: { id: plant }, mqtt: { embedded: off, ${upstream} } }`);
  const six = right('{ gateway: { id: plant }, mqtt: { upstream: { url: "mqtts://[fd00::1]:1", ca: a } } }');

  t.match(one.mqtt, {
    embedded: undefined,
    upstream: {
      url: 'mqtts://broker.example.com:8883',
      host: 'broker.example.com',
      port: 8883,
      ca: '/plant/ca.pem',
      cert: '/etc/c.pem',
      key: '/plant/k.pem',
    },
  });
  t.same(both.mqtt.embedded, { host: '127.0.0.1', port: 1 });
  t.equal(off.mqtt.embedded, undefined);
  t.match(six.mqtt.upstream, { host: 'fd00::1', port: 1, cert: undefined });
});

t.test('zones, conduits and management arrive as they are written', async (t) => {
  const config = right(`
gateway: { id: plant }
zones:
  control: { vlan: 10, subnet: [10.0.0.0/24, "FD00:10::/64"], within: allow }
  uplink: { interface: eth0 }
conduits:
  - { from: uplink, to: control, allow: [ssh], because: service, only: { from: [192.0.2.7], to: [press-1, press, 10.0.0.128/25] } }
  - { from: control, to: uplink, allow: [https], because: updates }
classes: { press: { zone: control, protocol: modbus, points: { p: { at: "coil:0" } } } }
devices: { press-1: { class: press, at: "modbus-tcp://10.0.0.5" } }
segmentation: { mode: enforce, management: { zone: uplink, from: [192.0.2.0/24, "2001:DB8::7"], allow: [ssh, tcp/8443] } }`);

  t.match(config.zones, [
    { name: 'control', subnets: ['10.0.0.0/24', 'fd00:10::/64'], within: 'allow' },
    { name: 'uplink', subnets: [], within: 'deny' },
  ]);
  t.same(
    config.conduits.map(({ only }) => only),
    [
      {
        from: [{ kind: 'subnet', text: '192.0.2.7/32' }],
        to: [
          { kind: 'device', text: 'press-1' },
          { kind: 'class', text: 'press' },
          { kind: 'subnet', text: '10.0.0.128/25' },
        ],
      },
      { from: [], to: [] },
    ],
  );
  t.same(config.segmentation.management, {
    zone: 'uplink',
    from: ['192.0.2.0/24', '2001:db8::7/128'],
    allow: ['ssh', 'tcp/8443'],
  });
});

t.test('a mistake elsewhere is not told again by the conduit that names what was wrong', async (t) => {
  const problems = wrong(`
gateway: { id: plant }
zones: { control: { vlan: 10, subnet: 10.0.0.0/24 }, hmi: { vlan: 20, subnet: 10.0.1.0/24 } }
conduits: [{ from: hmi, to: control, allow: [ssh], because: service, only: { to: [press-1] } }]
classes: { press: { zone: control, protocol: modbus, points: { p: { at: "coil:0" } } } }
devices: { press-1: { class: pres, at: "modbus-tcp://10.0.0.5" } }`);

  t.match(problems, [{ path: 'devices.press-1.class' }]);
  t.equal(problems.length, 1);
});

/** What goes up where the shipped plant publishes this. */
function published(publish: string): string[] {
  const { points } = right(shipped.replace(/ {2}publish:.*\n(?: {4}- .*\n)*/, `  publish: ${publish}\n`));
  return points.filter((one) => one.published).map((one) => `${one.device}/${one.name}`);
}

t.test('only what a pattern names goes up', async (t) => {
  t.same(published('[]'), [], 'an empty list means nothing');
  t.same(published('[{ event: "*" }]'), []);
  t.same(published('[{ telemetry: "meter-hall-*/voltage-l1" }, { telemetry: "boiler-1/fla*" }]'), [
    'meter-hall-a/voltage-l1',
    'meter-hall-b/voltage-l1',
    'boiler-1/flame',
  ]);
});

t.test('a configuration cannot be changed, at any depth', async (t) => {
  const config = right(shipped);
  const parts: unknown[] = [config];
  for (const part of parts) {
    if (typeof part !== 'object' || part === null) continue;
    if (!Object.isFrozen(part)) t.fail(`not frozen: ${JSON.stringify(part)}`);
    parts.push(...Object.values(part));
  }
  t.ok(parts.length > 1_000);
});

t.test('a problem names line and column as an editor counts them, whatever the ends of lines', async (t) => {
  const text = 'gateway: { id: plant }\n# ä comment, 😀\nzones:\n  z: { vlan: 4095, subnet: 10.0.0.0/24 }\n';
  for (const ends of ['\n', '\r\n']) {
    t.match(wrong(text.replaceAll('\n', ends)), [
      { file: 'gateway.yaml', line: 4, column: 14, path: 'zones.z.vlan' },
    ]);
  }
});

t.test('problems come in the order of the file', async (t) => {
  for (const mutation of [shipped.replaceAll('zone: ', 'zone: x'), shipped.replaceAll('unit: ', 'unti: ')]) {
    const problems = wrong(mutation);
    t.ok(problems.length >= 5);
    t.same(
      problems,
      problems.toSorted((a, b) => a.line - b.line || a.column - b.column),
    );
  }
});

t.test('one mistake is one problem, at the place of the mistake', async (t) => {
  const lines = shipped.split('\n');
  const mistakes: readonly (readonly [string, string, string])[] = [
    ['id: plant7-line2', 'id: Plant7', 'gateway.id'],
    ['coap://127.20.30.31', 'coap://127.20.31.31', 'devices.tank-3.at'],
    ['vlan: 40', 'vlan: 10', 'zones.supervision.vlan'],
    ['class: boiler,', 'class: boilr,', 'devices.boiler-1.class'],
    ['zone: metering', 'zone: meterin', 'classes.energy-meter.zone'],
    ['"coil:0"', '"coil:0:int16"', 'classes.press.points.running.at'],
    ['[https, tcp/8883]', '[https, tcp/88833]', 'conduits[2].allow[1]'],
    ['unit=2', 'unit=1', 'devices.meter-hall-b.at'],
    ['heartbeat: 1h', 'hartbeat: 1h', 'classes.energy-meter.points.serial-number.hartbeat'],
    ['disk: 2GB', 'disk: 2', 'telemetry.retention.disk'],
  ];
  for (const [good, bad, path] of mistakes) {
    const line = lines.findIndex((text) => text.includes(good)) + 1;
    const [first, ...more] = wrong(shipped.replace(good, bad));
    t.equal(first?.path, path, bad);
    t.same(more, [], bad);
    t.equal(first?.line, line, bad);
  }
});

t.test('a hostile file is refused, not suffered', async (t) => {
  t.match(wrong('x'.repeat(MAX_FILE_CHARACTERS + 1)), [{ line: 1, found: /more than/ }]);
  t.ok(wrong('['.repeat(20_000)).length > 0);
  t.ok(wrong('{a: '.repeat(20_000)).length > 0);
  const bomb = [
    'a: &a [x,x,x,x,x,x,x,x,x]',
    ...Array.from({ length: 20 }, (_, i) => `b${i}: &b${i} [${'*a,'.repeat(9)}]`),
  ];
  t.ok(wrong(bomb.join('\n')).some(({ found }) => found === 'the alias *a'));
  t.ok(wrong('a: 1\n---\nb: 2\n').length > 0, 'two documents');
  wrong('__proto__: { polluted: true }\nconstructor: { prototype: { polluted: true } }');
  t.equal(Reflect.get({}, 'polluted'), undefined);
});

t.test('no file makes the parser throw, and every problem is whole', async () => {
  const pieces = shipped.split(/(\s+|[{}[\],:"])/);
  const damaged = fc
    .array(
      fc.tuple(
        fc.nat(pieces.length - 1),
        fc.constantFrom(
          '',
          '{',
          ']',
          ': ',
          '-',
          '"',
          '5',
          'null',
          '\t',
          '~',
          '&a',
          '*a',
          '!x',
          '\n',
          '\u0000',
        ),
      ),
      { minLength: 1, maxLength: 4 },
    )
    .map((changes) => {
      const copy = [...pieces];
      for (const [at, piece] of changes) copy[at] = piece;
      return copy.join('');
    });
  fc.assert(
    fc.property(fc.oneof(damaged, fc.string()), (text) => {
      const count = text.split(/\r\n|[\n\r]/).length;
      return wrong(text).every(
        ({ line, column, found, fix }) =>
          line >= 1 &&
          line <= count + 1 &&
          column >= 1 &&
          found !== '' &&
          fix !== '' &&
          !/Invalid input|undefined/.test(`${found}${fix}`),
      );
    }),
    { numRuns: 150 },
  );
});

t.test('a path with a control character is a problem of the file, not of whoever opens it', async (t) => {
  const parsed = parseConfig(
    'gateway: { id: plant, data: "x\\0y" }\nmqtt: { upstream: { url: "mqtts://h:8883", ca: "a\\e[2J" } }',
    '/plant/gateway.yaml',
  );
  t.same('problems' in parsed ? parsed.problems.map(({ path, fix }) => [path, /control/.test(fix)]) : [], [
    ['gateway.data', true],
    ['mqtt.upstream.ca', true],
  ]);
});

function whose(text: string): unknown {
  const parsed = parseConfig(text, '/plant/gateway.yaml');
  return 'problems' in parsed ? parsed.gateway : 'right';
}

t.test('whose file it is can be read where the rest is wrong', async (t) => {
  const known = { id: 'plant', data: '/plant/d' };
  const head = 'gateway: { id: plant, data: ./d }\n';

  for (const rest of [
    'zone: {}\n',
    'zones: { a: 7 }\n',
    'zones: {\n',
    'bogus: [\n',
    '\tx\n',
    'a: "\n',
    'a: *b\n',
  ])
    t.same(whose(head + rest), known, rest);
  t.same(whose('gateway: { id: plant, data: ./d\nzones: {}\n'), known);
  t.same(whose('zones: 7\ngateway:\n  id: plant\n  data: ./d\n'), known);
  t.same(whose('zones: 7\ngateway: { id: plant }\n'), { id: 'plant', data: '/plant/data' }, 'as ever');

  for (const doubtful of [
    'zones: 7\ngateway: { id: plant, dat: ./d }\n',
    'zones: 7\ngateway: { id: Plant, data: ./d }\n',
    'zones: 7\ngatway: { id: plant, data: ./d }\n',
    `${head}gateway: { id: other, data: ./e }\n`,
    'gateway: { id: plant, id: other, data: ./d }\n',
    'gateway:\n  id: plant\n  "data: ./d\n',
    'gateway:\n  id: plant\n\tdata: ./d\n',
    'gateway: { id: plant, data: ./d\n  more: x }\n',
    'gateway: { id: plant, data: ./d\n  more, x: y: z }\n',
    'gateway: {\n',
    `zones: {\n${head}`,
    'zones: 7\n',
    '7\n',
    '',
  ])
    t.equal(whose(doubtful), undefined, doubtful);
});
