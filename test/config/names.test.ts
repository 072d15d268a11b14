import * as fc from 'fast-check';
import t from 'tap';
import { editDistance, nearest } from '../../src/config/nearest.ts';
import { matches } from '../../src/config/pattern.ts';
import { serviceProblem } from '../../src/config/services.ts';

const word = fc.stringMatching(/^[a-c]{0,7}$/);

t.test('the edit distance is a distance', async () => {
  fc.assert(fc.property(word, (a) => editDistance(a, a) === 0));
  fc.assert(fc.property(word, word, (a, b) => editDistance(a, b) === editDistance(b, a)));
  fc.assert(fc.property(word, word, (a, b) => editDistance(a, b) <= Math.max(a.length, b.length)));
  fc.assert(
    fc.property(
      word,
      word,
      word,
      (a, b, c) => editDistance(`${a}x${b}`, `${a}${c}${b}`) <= Math.max(1, c.length),
    ),
  );
  t.equal(editDistance('zones', 'zoens'), 1, 'neighbours swapped');
  t.equal(editDistance('kitten', 'sitting'), 3);
});

t.test('the nearest name is named, and a stranger is not', async (t) => {
  const keys = ['deadband', 'min-interval', 'heartbeat', 'writable', 'min', 'max', 'at'];
  t.equal(nearest('deadbnd', keys), 'deadband');
  t.equal(nearest('writeable', keys), 'writable');
  t.equal(nearest('Heartbeat', keys), 'heartbeat');
  t.equal(nearest('mx', keys), 'max');
  t.equal(nearest('heart', keys), 'heartbeat', 'what it is the beginning of');
  t.equal(nearest('temperature', keys), undefined);
  t.equal(nearest('', keys), undefined);
});

t.test('a pattern matches what the same regular expression matches', async () => {
  const pattern = fc.stringMatching(/^[ab*-]{1,6}$/);
  fc.assert(
    fc.property(pattern, fc.stringMatching(/^[ab-]{0,8}$/), (pattern, name) => {
      const oracle = new RegExp(`^${pattern.replaceAll('*', '.*')}$`);
      return matches(pattern, name) === oracle.test(name);
    }),
    { numRuns: 2_000 },
  );
});

t.test('a pattern full of stars takes no longer than others', async (t) => {
  t.notOk(matches('*a'.repeat(15), 'a'.repeat(14) + 'b'.repeat(100_000)));
});

t.test('services are built-in names, ports or ranges', async (t) => {
  for (const service of [
    'modbus-tcp',
    'coap',
    'coaps',
    'mqtts',
    'https',
    'ssh',
    'dns',
    'ntp',
    'icmp',
    'tcp/4840',
    'udp/5000-5010',
    'tcp/1-65535',
  ]) {
    t.equal(serviceProblem(service), undefined, service);
  }
  for (const service of [
    '',
    'http',
    'tcp',
    'tcp/',
    'tcp/0',
    'tcp/65536',
    'udp/2-1',
    'sctp/5',
    'tcp/80 ',
    'TCP/80',
    'tcp/1-2-3',
    'toString',
  ]) {
    t.type(serviceProblem(service)?.[0], 'string', service);
  }
});

t.test('a limit changes no distance within it', async () => {
  fc.assert(
    fc.property(word, word, fc.nat(6), (a, b, limit) => {
      const [whole, limited] = [editDistance(a, b), editDistance(a, b, limit)];
      return whole <= limit ? limited === whole : limited > limit;
    }),
    { numRuns: 2_000 },
  );
});

t.test('the edit distance is the one of the textbook', async () => {
  const textbook = (a: string, b: string): number => {
    if (a === '' || b === '') return a.length + b.length;
    const [x, y] = [a.slice(1), b.slice(1)];
    const costs = [textbook(x, b) + 1, textbook(a, y) + 1, textbook(x, y) + (a[0] === b[0] ? 0 : 1)];
    if (a.length > 1 && b.length > 1 && a[0] === b[1] && a[1] === b[0])
      costs.push(textbook(a.slice(2), b.slice(2)) + 1);
    return Math.min(...costs);
  };
  const short = fc.stringMatching(/^[a-c]{0,5}$/);
  fc.assert(
    fc.property(short, short, (a, b) => editDistance(a, b) === textbook(a, b)),
    { numRuns: 300 },
  );
});
