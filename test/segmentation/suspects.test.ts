import t from 'tap';
import { type Directory, EMPTY_DIRECTORY, suspectOf } from '../../src/segmentation/suspects.ts';

// Whom a name, an address or a hardware address stands for, by what the file says.

const device = (name: string, host: string | undefined, mac?: string) => ({
  name,
  mac,
  endpoint: host === undefined ? { path: '/dev/ttyS0' } : { host },
});
const MAC = '02:00:00:00:10:';
const PLANT: Directory = {
  devices: [
    device('press-1', '10.10.0.11', `${MAC}11`),
    device('press-2', '10.10.0.12', `${MAC}12`),
    device('press-3', '10.10.0.13'),
    device('drive-1', '10.10.0.20'),
    device('drive-2', '10.10.0.20', `${MAC}20`),
    device('drive-3', '10.10.0.20'),
    device('tank-1', 'fd00:10::31', `${MAC}31`),
    device('scale-1', undefined),
  ],
  subnets: ['10.10.0.0/24', '10.10.1.0/31', '10.10.2.7/32', 'fd00:10::/64'],
};

t.test('what a device has stands for all that it has', async (t) => {
  for (const [host, mac, name] of [
    ['10.10.0.11', `${MAC}11`, 'press-1'],
    ['fd00:10::31', `${MAC}31`, 'tank-1'],
  ] as const) {
    const whole = { device: name, mac, addresses: [host], aliases: [host, mac], beside: [] };
    for (const asked of [name, host, host.toUpperCase(), mac, mac.toUpperCase()])
      t.same(suspectOf(asked, PLANT), whole, asked);
  }
  t.same(suspectOf('10.10.0.13', PLANT), {
    device: 'press-3',
    mac: undefined,
    addresses: ['10.10.0.13'],
    aliases: ['10.10.0.13'],
    beside: [],
  });
});

t.test('units behind one address are cut off together, by whichever name', async (t) => {
  const host = { mac: `${MAC}20`, addresses: ['10.10.0.20'] };

  t.same(suspectOf('drive-1', PLANT), {
    ...host,
    device: 'drive-1',
    aliases: [],
    beside: ['drive-2', 'drive-3'],
  });
  for (const asked of ['10.10.0.20', host.mac])
    t.same(suspectOf(asked, PLANT), {
      ...host,
      device: '10.10.0.20',
      aliases: ['10.10.0.20', host.mac],
      beside: ['drive-1', 'drive-2', 'drive-3'],
    });
});

t.test('nobody of the file, and no file, are who they were', async (t) => {
  for (const directory of [PLANT, EMPTY_DIRECTORY]) {
    t.match(suspectOf('10.10.0.99', directory), {
      device: '10.10.0.99',
      addresses: ['10.10.0.99'],
      beside: [],
    });
    t.match(suspectOf(`${MAC}99`, directory), { device: `${MAC}99`, mac: `${MAC}99`, addresses: [] });
  }
  t.equal(suspectOf('10.10.0.11', EMPTY_DIRECTORY).device, '10.10.0.11');
  t.throws(() => suspectOf('scale-1', PLANT), { message: /has no address in the network/ });
  t.throws(() => suspectOf('pres-1', PLANT), {
    message: /is called pres-1/,
    remedy: 'did you mean press-1?',
  });
});

t.test('the ends of a subnet of the file are nobody', async (t) => {
  t.throws(() => suspectOf('10.10.0.255', PLANT), {
    message: /255 is the broadcast address of 10.10.0.0\/24/,
  });
  t.throws(() => suspectOf('10.10.0.0', PLANT), { message: /is the address of the network 10.10.0.0\/24/ });
  for (const somebody of ['10.10.1.0', '10.10.1.1', '10.10.2.7', 'fd00:10::', '10.10.3.255'])
    t.match(suspectOf(somebody, PLANT), { addresses: [somebody] });
});
