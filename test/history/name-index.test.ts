import t from 'tap';
import { silentLog } from '../../src/core/log.ts';
import { Handles } from '../../src/store/history/handles.ts';
import { NameIndex } from '../../src/store/history/name-index.ts';
import { NAMES, NOON, Site, regular } from './fixture.ts';

t.test('of too many names those of old files are left out, and counted', async (t) => {
  const site = new Site(t);
  site.commit(regular(NOON, 60));
  await site.settle();
  await site.nextHour();
  const handles = new Handles(silentLog);
  t.teardown(() => handles.close());
  const index = new NameIndex(site.folder, handles, 3);
  const now = [
    { device: 'meter-9', point: 'power', unit: 'W' },
    { device: 'meter-9', point: 'energy', unit: 'kWh' },
  ];

  const found = index.matching(['*/*'], now);

  t.equal(found.length, 3);
  t.same(
    found.filter(({ device }) => device === 'meter-9'),
    now.toReversed(),
    'what is recorded now is there',
  );
  t.equal(index.leftOut, NAMES.length - 1);
  t.equal(index.matching(['*/*'], now).length, 3, 'and it stays so');
  t.equal(index.leftOut, NAMES.length - 1, 'none is counted twice');
});
