import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { requestOf } from '../../src/netd/request.ts';
import { EMPTY_DIRECTORY as NONE, suspectOf } from '../../src/segmentation/suspects.ts';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { confirmed } from './change.ts';
import { audited, good } from './measure-bed.ts';
import { BEFORE } from './plants.ts';
import { Speaker } from './said.ts';

// What the verbs for measures take from whoever may ask, and what they do not.

const DAY = 86_400_000;
const put = (more: object): string =>
  JSON.stringify({ v: 1, verb: 'quarantine', device: '10.20.10.9', because: 'x', ...more });

t.test('lengths of time that are none are refused', async (t) => {
  for (const lasts of [0, -1, 1.5, 400 * DAY + 1, 1e300, '60000', null, [], {}, true])
    t.throws(() => requestOf(put({ 'lasts-ms': lasts })), { code: 'USAGE', message: /"lasts-ms" has to be/ });
  for (const text of ['NaN', 'Infinity', '-Infinity', '0x10'])
    t.throws(() => requestOf(put({}).replace('"x"', `"x","lasts-ms":${text}`)), { message: /not JSON/ });
  t.throws(() => requestOf(put({}).replace('"x"', '"x","lasts-ms":1e999')), {
    message: /"lasts-ms" has to be/,
  });
  t.equal(requestOf(put({ 'lasts-ms': 400 * DAY })).lasts, 400 * DAY);
  t.equal(requestOf(put({})).lasts, undefined, 'until it is released');
});

t.test('names and reasons that are none are refused', async (t) => {
  for (const key of ['device', 'because', 'person', 'session'])
    for (const value of ['', 'x'.repeat(201), 7, null, ['x'], { toString: 'x' }])
      t.throws(() => requestOf(put({ [key]: value })), { code: 'USAGE', message: /has to be a text/ });
  for (const [verb, key] of [
    ['quarantine', 'device'],
    ['quarantine', 'because'],
    ['release', 'device'],
    ['island', 'because'],
  ] as const)
    t.throws(() => requestOf(JSON.stringify({ v: 1, verb })), {
      message: new RegExp(`${verb} needs "|${key}`),
    });
  for (const more of [
    { mac: '02:00:00:00:00:01' },
    { addresses: ['10.0.0.1'] },
    { lasts: 5 },
    { __proto__x: 1 },
  ])
    t.throws(() => requestOf(put(more)), { message: /quarantine takes no "/ });
  t.throws(() => requestOf(JSON.stringify({ v: 1, verb: 'island', because: 'x', 'lasts-ms': 5 })), {
    message: /island takes no "lasts-ms"/,
  });
});

t.test('what no device can be called is refused, and shown without its control characters', async (t) => {
  for (const name of [
    '0.0.0.0', '255.255.255.255', '224.0.0.1', '::', '::1', '127.3.2.1', 'ff02::1', 'fe80::1', '::ffff:10.20.10.9',
    'ff:ff:ff:ff:ff:ff', '01:00:5e:00:00:01', '00:00:00:00:00:00', '10.20.10.0/24', '10.20.10', '*', '@q_mac', '10.20.10.9 }; flush ruleset',
  ]) // biome-ignore format: a list of names
    t.throws(() => suspectOf(name, NONE), { code: 'SETUP' }, name);
  t.throws(() => suspectOf('press\u001b[2J\n"}\u202e', NONE), {
    message: /called press\\u001b\[2J\\u000a"}\\u202e$/,
  });
  t.match(suspectOf('02:00:00:00:AB:09', NONE), {
    device: '02:00:00:00:ab:09',
    mac: '02:00:00:00:ab:09',
    addresses: [],
  });
  t.same(suspectOf('FD00:10:0::9', NONE).addresses, ['fd00:10::9'], 'canonical, as the kernel lists it');
});

const skip = noRules() || missingPeer('nsenter', 'util-linux');

t.test(
  'over the socket: each is in the audit before it is done, and nothing of it acts',
  { skip },
  async (t) => {
    const bed = await confirmed(t);
    bed.knows(BEFORE);
    await bed.netd();
    const speaker = await Speaker.to(bed);
    const because = `tr\u001b]0;x\u0007\n{"verb":"release"}\u202e${'y'.repeat(150)}`;

    t.match(
      await speaker.asked({ verb: 'quarantine', device: '10.20.10.9', because, person: 'mallory\nroot' }),
      /"ok":true/,
    );
    for (const device of ['10.20.10.9\u0000', '../../etc/passwd', 'x'.repeat(200), '10.20.10.9;'])
      t.match(
        await speaker.asked({ verb: 'quarantine', device, because: 'x' }),
        /"ok":false.*no device, address/,
      );
    t.match(
      await speaker.asked({ verb: 'quarantine', device: '127.0.0.1', because: 'x' }),
      /every machine calls itself/,
    );
    t.match(
      await speaker.asked({ verb: 'release', device: '\u001b[2J', because: 'x' }),
      /"ok":false.*\\\\u001b\[2J is not in quar/,
    );
    const list = await good(bed, 'quarantine');
    t.equal(list.split('\n').length, 2, 'one line, whatever is in it');
    t.notMatch(list, /[^\P{C}\n]/u);
    t.match(
      await speaker.asked({ verb: 'release', device: '10.20.10.9', because: 'it was nothing' }),
      /"ok":true/,
    );

    const lines = audited(bed);
    t.match(lines[0], /^quarantine intended socket tr/);
    t.match(lines[1], /^quarantine done socket tr/);
    t.equal(lines.filter((line) => / failed /.test(line)).length, 6, 'what failed is in it too');
    t.same(lines.slice(-2), ['release intended socket it was nothing', 'release done socket it was nothing']);
    const log = readFileSync(join(bed.state, 'audit.jsonl'), 'utf8');
    t.notMatch(log, /[^\P{C}\n]/u, 'no character that a terminal obeys');
  },
);

t.test(
  'a file that is wrong, or of others, keeps nobody from being cut off by an address',
  { skip },
  async (t) => {
    const bed = await confirmed(t);
    bed.knows(BEFORE);
    bed.declare(BEFORE);
    await bed.netd();
    const speaker = await Speaker.to(bed);
    const put = async (device: string): Promise<string> =>
      speaker.asked({ verb: 'quarantine', device, because: 'x' });

    bed.declare('gateway: {');
    t.match(await put('press-1'), /"ok":false,"code":"CONFIG_INVALID"/);
    t.match(await put('10.20.10.9'), /"ok":true/);
    t.match(await put('02:00:00:00:10:09'), /"ok":true/);
    if (process.getuid?.() !== 0) return;
    bed.declare(BEFORE);
    await bed.run('chmod', '666', 'gateway.yaml');
    t.match(await put('press-1'), /"ok":false.*does not go by/, 'others decide what a name means');
    t.match(await put('10.20.10.8'), /"ok":true/);
  },
);

t.test('when rules are loaded, the audit says already who wants it', { skip }, async (t) => {
  const bed = await confirmed(t);
  bed.knows(BEFORE);
  bed.declare(BEFORE);
  bed.nftIs(`case "$*" in
    *-f*) tail -n 1 "$HERE/data/segmentation/audit.jsonl" >>"$HERE/order" || echo none >>"$HERE/order";;
  esac
  exec $NFT "$@"`);

  for (const [verb, ...args] of [
    ['quarantine', '10.20.10.9', '--because', 'x'],
    ['release', '10.20.10.9'],
    ['firewall', 'island', '--because', 'x'],
    ['firewall', 'rejoin'],
  ]) {
    rmSync(join(bed.folder, 'order'), { force: true });
    await good(bed, verb ?? '', ...args);
    const order = readFileSync(join(bed.folder, 'order'), 'utf8').trimEnd().split('\n');
    const name = (verb === 'firewall' ? args[0] : verb) ?? '';
    t.ok(
      order.length > 0 && order.every((line) => line.includes(`"verb":"${name}","outcome":"intended"`)),
      name,
    );
  }
});
