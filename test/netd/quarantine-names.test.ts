import t, { type Test } from 'tap';
import { minutes } from '../../src/core/units.ts';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { Bed } from './bed.ts';
import { asked, audited, holdsFrom } from './measure-bed.ts';
import { plant } from './measure-plants.ts';

// A device is who it is by whatever it is called: one entry, one release, and the audit says whose.

const skip = noRules() || missingPeer('conntrack', 'conntrack') || missingPeer('nsenter', 'util-linux');
const MAC = '02:00:00:00:10:12';
const PLANT = `${plant('udp/4001', 'enforce', '')}
classes:
  press: { zone: control, protocol: modbus, points: { p: { at: "coil:0" } } }
devices:
  press-1: { class: press, at: "modbus-tcp://10.20.10.11", mac: "02:00:00:00:10:11" }
  press-2: { class: press, at: "modbus-tcp://10.20.10.12", mac: "${MAC}" }
  drive-1: { class: press, at: "modbus-tcp://10.20.10.20?unit=1" }
  drive-2: { class: press, at: "modbus-tcp://10.20.10.20?unit=2", mac: "02:00:00:00:10:20" }
`;

async function served(t: Test): Promise<Bed> {
  const bed = await Bed.make(t);
  await holdsFrom(bed, PLANT);
  await bed.netd();
  return bed;
}

/** Elements that the kernel holds. */
async function held(bed: Bed): Promise<string[]> {
  const listing = (await bed.listing()) ?? '';
  const sets = [...listing.matchAll(/"name": "q_[a-z_0-9]+"[^{}]*?"elem": \[([^\]]*)\]/g)];
  return sets.flatMap(([, some = '']) => some.replaceAll('"', '').split(', ')).toSorted();
}

const put = async (bed: Bed, device: string): Promise<string> =>
  asked(bed, 'quarantine', { device, because: 'odd writes' });
const letGo = async (bed: Bed, device: string): Promise<string> => asked(bed, 'release', { device });

t.test('an address, or a hardware address, of a device cuts off all of it', { skip }, async (t) => {
  const bed = await served(t);

  t.match(await put(bed, MAC), /^press-2 is in quarantine \(02:00:00:00:10:12, 10\.20\.10\.12\)/);
  t.match(await put(bed, '10.20.10.11'), /^press-1 is in quarantine \(02:00:00:00:10:11, 10\.20\.10\.11\)/);

  t.same(await held(bed), ['02:00:00:00:10:11', '02:00:00:00:10:12', '10.20.10.11', '10.20.10.12']);
  t.match(await put(bed, 'press-1'), /^press-1 is in/);
  t.equal(await letGo(bed, '10.20.10.11'), 'press-1 is released\n', 'one device is one entry');
  t.equal(await letGo(bed, MAC.toUpperCase()), 'press-2 is released\n');
  t.same(await held(bed), []);
  const devices = audited(bed, ['device']).filter((line) => line.startsWith('release'));
  t.same(devices, [
    'release intended socket asked for as 10.20.10.11 press-1',
    'release done socket asked for as 10.20.10.11 press-1',
    `release intended socket asked for as ${MAC.toUpperCase()} press-2`,
    `release done socket asked for as ${MAC.toUpperCase()} press-2`,
  ]);
});

t.test('units behind one address: who is cut off with it, and who holds it still', { skip }, async (t) => {
  const bed = await served(t);

  t.match(
    await put(bed, 'drive-1'),
    /\(02:00:00:00:10:20, 10\.20\.10\.20\).*\n.*cut off with it.*: drive-2\n/,
  );
  await put(bed, 'drive-2');
  await t.rejects(letGo(bed, '10.20.10.20'), {
    message: /held back by drive-1 and drive-2: nobody is released/,
  });
  t.match(await put(bed, '10.20.10.20'), /^10\.20\.10\.20 is in.*\n.*cut off with it.*: drive-1, drive-2\n/);
  t.match(
    await letGo(bed, '10.20.10.20'),
    /^10\.20\.10\.20 is released\n.*drive-1 .* still[^]*drive-2 .* still/,
  );
  t.match(await letGo(bed, 'drive-1'), /^drive-1 is released\n.*drive-2 .* still in quarantine/);
  t.equal(await letGo(bed, '10.20.10.20'), 'drive-2 is released\n');
  t.same(await held(bed), []);
});

t.test('whom a wrong file did not know is known once it is right', { skip }, async (t) => {
  const bed = await served(t);
  bed.declare('gateway: {');
  t.match(
    await put(bed, '10.20.10.12'),
    /^10\.20\.10\.12 is in quarantine \(10\.20\.10\.12\).*\n.*file cannot be gone by/,
  );
  t.same(await held(bed), ['10.20.10.12']);

  bed.declare(PLANT);
  const said = await asked(bed, 'quarantine', { device: MAC, lasts: minutes(1), because: 'odd writes' });

  t.match(said, /^press-2 is in quarantine .*, until it is released\n.*there for longer already/);
  t.match(audited(bed, ['device']).slice(-2), [
    /^quarantine intended socket for 1m: odd writes; in the place of 10\.20\.10\.12 press-2$/,
    /^quarantine done socket .* press-2$/,
  ]);
  t.equal(await letGo(bed, 'press-2'), 'press-2 is released\n', 'nothing else holds it');
  t.same(await held(bed), []);
});

t.test('whoever manages the gateway still reaches it, and that is said', { skip }, async (t) => {
  const bed = await served(t);

  t.match(
    await put(bed, '10.1.2.7'),
    /warning: 10\.1\.2\.7 still reaches the gateway by tcp\/22 ssh: .*management/,
  );
  t.notMatch(await put(bed, '10.1.3.7'), /still reaches/);
  await t.rejects(put(bed, '10.20.10.255'), { message: /is the broadcast address of 10\.20\.10\.0\/24/ });
});
