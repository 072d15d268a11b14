import { assert, property, string } from 'fast-check';
import t from 'tap';
import { streamLog } from '../../src/core/log.ts';
import { visible } from '../../src/core/visible.ts';
import { messageLine } from '../../src/cli/message-line.ts';
import { shellWord } from '../../src/core/shell-word.ts';

/** Clears a screen, sets a title, colours, moves; then the same with 8-bit controls, then text from right to left. */
const HOSTILE = '\u001b[2J\u001b]0;owned\u0007\r\nerror: all is well\u009b31m\u202egpj.exe\u{e0041}\ud800';

/** Everything that a terminal could obey, written out; a line feed only at the end. */
const ACTS = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}](?!$)/u;

function logged(isTTY: boolean): string {
  const written: string[] = [];
  const log = streamLog({ isTTY, write: (text) => written.push(text) });
  log.warn('a device said', { text: HOSTILE, bare: '\u001b[2J', tab: 'a\tb' });
  return written.join('');
}

t.test('whatever a device says, its line in the log is one line and nothing in it acts', async (t) => {
  for (const isTTY of [true, false]) {
    const line = logged(isTTY);
    t.notMatch(line, ACTS);
    t.ok(line.endsWith('\n'));
    t.match(line, '\\u001b', 'it can still be read');
  }
  const facts: unknown = JSON.parse(logged(false));
  t.match(facts, { what: 'a device said', text: HOSTILE, bare: '\u001b[2J' });
});

t.test('the screen of the demo shows what a device sent and obeys nothing of it', async (t) => {
  const sample = { point: 'label', time: 1, value: HOSTILE, quality: 'good', unit: '\u001b[1m' };
  const telemetry = JSON.stringify({ seq: 7, samples: [sample] });
  const result = JSON.stringify({ id: HOSTILE, ok: true, value: HOSTILE });

  for (const [topic, payload] of [
    ['telemetry/m', telemetry],
    ['result/m/label', result],
  ] as const) {
    const line = messageLine(`sluice/gw1/${topic}`, Buffer.from(payload));
    t.notMatch(line, ACTS);
    t.match(line, topic);
  }
});

t.test('a JSON text made visible means the same', (t) => {
  assert(
    property(string({ unit: 'binary' }), (text) => {
      const shown = visible(JSON.stringify(text));
      return !ACTS.test(shown) && JSON.parse(shown) === text;
    }),
  );
  t.end();
});

t.test('a word for a shell is one word', (t) => {
  t.equal(shellWord('data/credentials/ca.pem'), 'data/credentials/ca.pem');
  t.equal(shellWord('my data/$(reboot)'), "'my data/$(reboot)'");
  t.equal(shellWord("it's;x"), "'it'\\''s;x'");
  t.end();
});
