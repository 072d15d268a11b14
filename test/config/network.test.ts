import { BlockList, isIPv4, isIPv6 } from 'node:net';
import * as fc from 'fast-check';
import t from 'tap';
import { contains, notADevice, overlap, parseAddress, parseSubnet } from '../../src/config/network.ts';

// The oracle is the parser of Node itself, which the pure folder must not import.

const ipv6 = fc.oneof(
  fc.ipV6().filter((text) => !text.includes('.')),
  fc
    .array(fc.constantFrom('0', '1', '00', 'a', 'FFFF', 'fd00'), { minLength: 8, maxLength: 8 })
    .map((groups) => groups.join(':')),
);

t.test('an address is read where the operating system reads one, and written the same way', async (t) => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), ipv6), (text) => {
      const address = parseAddress(text);
      if (address === undefined) return false;
      const canonical = new URL(`http://${address.family === 6 ? `[${text}]` : text}`).hostname;
      return address.text === canonical.replace(/^\[|\]$/g, '');
    }),
    { numRuns: 1_000 },
  );
  fc.assert(
    fc.property(fc.stringMatching(/^[0-9a-f.:]{0,20}$/), (text) => {
      const known = parseAddress(text) !== undefined;
      // Dotted tails of IPv6 are refused on purpose.
      return known === (isIPv4(text) || (isIPv6(text) && !text.includes('.')));
    }),
    { numRuns: 2_000 },
  );
  for (const text of [
    '10.0.0.010',
    '10.0.0',
    '10.0.0.256',
    '1::2::3',
    'fe80::1%eth0',
    '::g',
    '',
    ':',
    '1:2',
  ]) {
    t.equal(parseAddress(text), undefined, JSON.stringify(text));
  }
});

t.test('a subnet contains what a block list with it contains', async () => {
  fc.assert(
    fc.property(fc.ipV4(), fc.ipV4(), fc.integer({ min: 0, max: 32 }), (base, other, prefix) => {
      const list = new BlockList();
      list.addSubnet(base, prefix, 'ipv4');
      const subnet = parseSubnet(`${base}/${prefix}`);
      const address = parseAddress(other);
      return (
        subnet !== undefined &&
        address !== undefined &&
        contains(subnet, address) === list.check(other, 'ipv4')
      );
    }),
  );
  const six = parseSubnet('fd00:20::/64');
  const inside = parseAddress('fd00:20::ffff:1');
  const outside = parseAddress('fd00:20:0:1::1');
  if (six === undefined || inside === undefined || outside === undefined) throw new Error('not read');
  t.ok(contains(six, inside));
  t.notOk(contains(six, outside));
});

t.test('subnets overlap where one contains the beginning of the other', async () => {
  fc.assert(
    fc.property(
      fc.ipV4(),
      fc.integer({ min: 0, max: 32 }),
      fc.ipV4(),
      fc.integer({ min: 0, max: 32 }),
      (a, p, b, q) => {
        const [one, two] = [parseSubnet(`${a}/${p}`), parseSubnet(`${b}/${q}`)];
        if (one === undefined || two === undefined) return false;
        const first = parseAddress(one.text.split('/')[0] ?? '');
        const second = parseAddress(two.text.split('/')[0] ?? '');
        if (first === undefined || second === undefined) return false;
        return overlap(one, two) === (contains(one, second) || contains(two, first));
      },
    ),
  );
});

t.test('subnets are written without bits of hosts', async (t) => {
  t.equal(parseSubnet('10.20.20.7/24')?.text, '10.20.20.0/24');
  t.equal(parseSubnet('FD00:20:0::1/64')?.text, 'fd00:20::/64');
  for (const text of ['10.0.0.0', '10.0.0.0/33', 'fd00::/129', '10.0.0.0/-1', '10.0.0.0/24/1', 'x/24']) {
    t.equal(parseSubnet(text), undefined, text);
  }
});

function reason(text: string): string | undefined {
  const address = parseAddress(text);
  return address === undefined ? 'unread' : notADevice(address);
}

t.test('no device has an address that is not one of a host', async (t) => {
  for (const text of ['10.0.0.1', '127.20.20.11', 'fd00::1', '2001:db8::1', '::1'])
    t.equal(reason(text), undefined, text);
  for (const text of [
    '0.0.0.0',
    '224.0.1.187',
    '255.255.255.255',
    '240.0.0.1',
    '::',
    'ff02::fd',
    'fe80::1',
    '::ffff:a00:1',
  ]) {
    t.type(reason(text), 'string', text);
  }
});
