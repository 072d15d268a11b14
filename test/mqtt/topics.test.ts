import { array, assert, constantFrom, property } from 'fast-check';
import t from 'tap';
import {
  filterProblem,
  parseCommandTopic,
  resultTopic,
  topicLevel,
  topicMatcher,
  topicRoot,
} from '../../src/mqtt/topics.ts';

t.test('a name that would be read as something else never becomes a level', async (t) => {
  for (const name of ['', 'a/b', '#', '+', 'a+', '$SYS', ' a', 'ä', 'x'.repeat(65), 'a\0']) {
    t.throws(() => topicLevel(name), RangeError, JSON.stringify(name));
  }
  t.equal(topicRoot('plant7-line2'), 'sluice/plant7-line2/');
  t.equal(resultTopic('press-1', 'breaker'), 'result/press-1/breaker');
});

t.test('only a device and a point make a command', async (t) => {
  const root = topicRoot('gw1');
  t.same(parseCommandTopic(root, 'sluice/gw1/command/press-1/breaker'), {
    device: 'press-1',
    point: 'breaker',
  });
  for (const topic of [
    'sluice/gw1/command/press-1',
    'sluice/gw1/command/press-1/breaker/x',
    'sluice/gw1/command//breaker',
    'sluice/gw1/command/press-1/',
    'sluice/gw2/command/press-1/breaker',
    'sluice/gw1/commands/press-1/breaker',
    'sluice/gw1/result/press-1/breaker',
    'x/sluice/gw1/command/press-1/breaker',
  ]) {
    t.equal(parseCommandTopic(root, topic), undefined, topic);
  }
});

t.test('filters match as MQTT 3.1.1, 4.7.1, says', async (t) => {
  const cases: readonly (readonly [filter: string, topic: string, matches: boolean])[] = [
    ['sport/tennis/player1/#', 'sport/tennis/player1', true],
    ['sport/tennis/player1/#', 'sport/tennis/player1/ranking', true],
    ['sport/tennis/player1/#', 'sport/tennis/player1/score/wimbledon', true],
    ['sport/tennis/player1/#', 'sport/tennis/player12', false],
    ['sport/tennis/+', 'sport/tennis/player1', true],
    ['sport/tennis/+', 'sport/tennis/player1/ranking', false],
    ['sport/+', 'sport', false],
    ['sport/+', 'sport/', true],
    ['sport/+/x', 'sport/a/x', true],
    ['sport/+/+', 'sport//', true],
    ['a.c/b', 'abc/b', false],
    ['a(b/+', 'a(b/c', true],
  ];
  for (const [filter, topic, matches] of cases)
    t.equal(topicMatcher(filter)(topic), matches, `${filter} ${topic}`);
});

t.test('a matcher agrees with the definition, level by level', async () => {
  const level = constantFrom('', 'a', 'b', 'ab', '.', '+', '#', '$x', '[');
  const filters = array(level, { minLength: 1, maxLength: 5 }).filter((levels) => {
    const hash = levels.indexOf('#');
    return hash < 0 || hash === levels.length - 1;
  });
  const plain = level.filter((name) => name !== '+' && name !== '#');
  const matches = ([f, ...filter]: readonly string[], [n, ...topic]: readonly string[]): boolean => {
    if (f === '#') return true;
    if (f === undefined || n === undefined) return f === n;
    if (f !== '+' && f !== n) return false;
    return topic.length === 0 && filter[0] === '#' ? true : matches(filter, topic);
  };
  assert(
    property(filters, array(plain, { minLength: 1, maxLength: 5 }), (filter, topic) => {
      // Filters of this gateway begin with its own root, never with a wildcard.
      const expected = matches(['sluice', ...filter], ['sluice', ...topic]);
      return topicMatcher(`sluice/${filter.join('/')}`)(`sluice/${topic.join('/')}`) === expected;
    }),
    { numRuns: 2_000 },
  );
});

t.test('a filter that leaves the gateway is a problem', async (t) => {
  const root = topicRoot('gw1');
  for (const filter of ['sluice/gw1/#', 'sluice/gw1/telemetry/+', 'sluice/gw1/+/m1', 'sluice/gw1/status']) {
    t.equal(filterProblem(root, filter), undefined, filter);
  }
  for (const filter of [
    '#',
    '+/+/#',
    'sluice/#',
    'sluice/+/status',
    'sluice/gw1',
    'sluice/gw11/#',
    '$share/g/sluice/gw1/#',
  ]) {
    t.match(filterProblem(root, filter), /below/, filter);
  }
  t.match(filterProblem(root, 'sluice/gw1/a#'), /does not allow/);
  t.match(filterProblem(root, 'sluice/gw1/a+/b'), /does not allow/);
  t.match(filterProblem(root, 'sluice/gw1/#/b'), /does not allow/);
});
