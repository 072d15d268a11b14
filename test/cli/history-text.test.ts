import t from 'tap';
import * as text from '../../src/cli/history-text.ts';
import { epochMs } from '../../src/core/units.ts';

const NAME = { device: 'meter\u001b[2J-1', point: 'text', unit: 'a\nb\u202e' };

t.test('names, units and texts are one line each, whoever wrote them', (t) => {
  const shown = text.last([
    { name: NAME, time: epochMs(0), value: `\u001b]0;x\u0007${'x'.repeat(8_192)}`, quality: 0, reason: 0 },
  ]);
  const names = text.names([NAME]);
  const query = { points: ['*/*'], from: epochMs(0), to: epochMs(1_000) };
  const gaps = [...text.completeness(query, [{ name: NAME, share: 1, gaps: [] }])].join('');

  for (const each of [shown, names, gaps]) t.notMatch(each, /[^\n\P{C}]/u, 'nothing that a terminal obeys');
  t.equal(shown.split('\n').length, 3, 'a head and a line');
  t.ok(shown.split('\n').every((line) => line.length < 120));
  t.end();
});

const shown = (value: number): string =>
  text.last([
    { name: { device: 'press', point: 'strokes' }, time: epochMs(0), value, quality: 0, reason: 0 },
  ]);

t.test('the mean of a counter is shown between its minimum and its maximum', (t) => {
  const cases: readonly (readonly [value: number, as: string])[] = [
    [6_950_993.46, '6950993'],
    [6_950_992, '6950992'],
    [-4_000_000_000_000.5, '-4000000000000'],
    [138_289.6, '138290'],
    [230.123456, '230.123'],
    [0.000123456789, '0.000123457'],
    [1.5e300, '1.5e+300'],
  ];
  for (const [value, as] of cases) t.match(shown(value), ` ${as} `);
  t.end();
});
