import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { missingPeer } from '../support/peer.ts';
import { Histogram } from './histogram.ts';
import { heldFor, type Plant, valueOf } from './plant.ts';
import { readRecording } from './recording.ts';
import { Slave } from './slave-control.ts';

// A measurement that cannot fail proves nothing: what the bench judges by is held against a peer and bad input here.

const needsMbpoll = { skip: missingPeer('mbpoll', 'mbpoll') };

t.test('the slave gives mbpoll what its values promise', needsMbpoll, async (t) => {
  const plant: Plant = { endpoints: 2, units: 3, points: 100, every: 1_000 };
  await using slave = await Slave.start(plant);

  const reading = '-m tcp -a 3 -t 3:hex -1 -r 21 -c 8 -p'.split(' ');
  const { stdout } = await promisify(execFile)('mbpoll', [...reading, `${slave.ports[1]}`, '127.0.0.1']);

  const words = [...stdout.matchAll(/^\[\d+\]:\s+0x([0-9A-F]{4})/gm)].map((match) => match[1] ?? '');
  t.equal(words.length, 8);
  const bytes = Buffer.from(words.join(''), 'hex');
  for (let i = 0; i < 4; i++) {
    const held = heldFor(bytes.readFloatBE(i * 4), 5, 10 + i, Date.now());
    t.ok(held !== undefined && held >= 0 && held < 5_000, `point ${10 + i} of device 5, ${held} ms old`);
  }
  const report = await slave.report();
  t.match(report, { requests: 1, values: 4, bytesIn: 12, bytesOut: 25 });
});

t.test('a value tells its point, device and time', (t) => {
  const at = 1_795_516_800_000;
  const value = valueOf(7, 123, at);
  t.equal(Math.fround(value), value, 'a float32 carries it');
  t.equal(heldFor(value, 7, 123, at), 0);
  t.equal(heldFor(value, 7, 123, at + 2_500), 2_500);
  t.equal(heldFor(Number(value.toPrecision(8)), 7, 123, at), 0, 'also in the fewest digits that mean it');
  t.equal(heldFor(value, 7, 124, at), undefined, 'another point');
  t.ok(Math.abs(heldFor(value, 8, 123, at) ?? 0) > 10_000, 'another device');
  t.end();
});

t.test(
  'a recording with a hole, a wrong value, a bad one and a message that came twice is found out',
  async (t) => {
    const at = 1_795_516_800_000;
    const sample = (device: number, point: number) => ({
      point: `p${point}`,
      time: at,
      value: valueOf(device, point, at),
      quality: 'good',
    });
    const line = (lane: string, seq: number, samples: readonly unknown[]): string =>
      `${at / 1_000 + 0.25}\tsluice/bench/${lane}/meter-0\t${JSON.stringify({ seq, samples })}\n`;
    const dir = t.testdir({
      'recording.tsv': [
        `${at / 1_000}\tsluice/bench/status\t{"state":"online"}\n`,
        line('telemetry', 5, [sample(0, 1), sample(0, 2)]),
        line('telemetry', 5, [sample(0, 1), sample(0, 2)]),
        line('history', 7, [sample(1, 3), { ...sample(0, 4), value: null, quality: 'bad' }]),
      ].join(''),
    });

    const found = await readRecording(join(dir, 'recording.tsv'), { from: at - 1, to: at + 1 });

    t.match(found, { holes: 1, duplicates: 1, wrong: 1, bad: 1, distinct: 4 });
    t.match(found.live, { messages: 2, values: 4, age: { p50: 250, p99: 250 } });
    t.match(found.history, { messages: 1, values: 2 });
  },
);

t.test('quantiles are those of the sorted list', (t) => {
  const histogram = new Histogram();
  for (let ms = 1; ms <= 2_000; ms++) histogram.add(ms);
  t.same(histogram.spread(), { count: 2_000, p50: 1_000, p99: 1_980, max: 2_000 });
  t.equal(histogram.above(1_900), 100);
  t.equal(new Histogram().quantile(0.99), 0);
  t.end();
});
