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
