import t from 'tap';
import { minutes } from '../../src/core/units.ts';
import { neighboursIn } from '../../src/netd/neighbours.ts';
import { lasting, longer } from '../../src/netd/quarantine-book.ts';

// Under which addresses somebody was seen, as `ip -j neigh` tells it.

const MAC = '02:00:00:00:10:09';
const at = (dst: unknown, state: unknown = ['STALE'], lladdr: unknown = MAC): object => ({
  dst,
  dev: 'vlan10',
  lladdr,
  state,
});

t.test('those that answered now come first, those that are gone do not', async (t) => {
  const json = [
    at('10.20.10.7'),
    at('10.20.10.8', ['FAILED']),
    at('10.20.10.9', ['REACHABLE']),
    at('FD00:10:0::9', ['DELAY'], MAC.toUpperCase()),
    at('fe80::9', ['REACHABLE']),
    at('10.20.10.10', ['REACHABLE'], '02:00:00:00:10:10'),
  ];
  t.same(neighboursIn(json, [MAC]).get(MAC), ['10.20.10.9', '10.20.10.7', 'fd00:10::9']);
});

t.test('whatever else is printed is nobody', async (t) => {
  const odd = [7, null, 'x', {}, at(7), at('10.20.10.9', ['REACHABLE'], 7), at('10.20.10'), at('224.0.0.1')];
  for (const json of [undefined, null, {}, 'x', odd, [odd]]) t.equal(neighboursIn(json, [MAC]).size, 0);
  t.same(neighboursIn([at('10.20.10.9', 'REACHABLE')], [MAC]).get(MAC), ['10.20.10.9']);
  t.equal(neighboursIn([at('10.20.10.9')], []).size, 0);
});

t.test('of two times the one that ends later counts, and none at all ends never', async (t) => {
  const [short, long] = [lasting(minutes(1)), lasting(minutes(60))];
  t.equal(longer(short, long), long);
  t.equal(longer(long, short), long);
  t.equal(longer(long, undefined), undefined);
  t.equal(longer(undefined, long), undefined);
});
