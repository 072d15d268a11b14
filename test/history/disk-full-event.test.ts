import t from 'tap';
import { DAY, HOUR, MINUTE, NOON, Site, regular } from './fixture.ts';

const kinds = (site: Site): string[] => site.events.map(({ kind, subject }) => `${kind} ${subject}`);

t.test(
  'a full disk is told once, also where nothing can be given up, and once when it is over',
  async (t) => {
    const site = new Site(t);

    for (let second = 0; second < 30; second++) {
      site.historian.shed(); // the outbox has met it
      await site.settle();
      site.clock.advance(1_000);
    }
    t.same(kinds(site), ['disk-full disk']);
    t.match(site.events[0]?.facts, { remedy: /free space/ });

    site.clock.advance(50_000);
    await site.settle();
    t.same(kinds(site), ['disk-full disk'], 'it may only not have been tried');
    site.clock.advance(20_000);
    await site.settle();
    site.clock.advance(DAY);
    await site.settle();

    t.same(kinds(site), ['disk-full disk', 'disk-has-room disk']);
    t.match(site.events[1]?.facts, { since: new Date(NOON).toISOString() });
  },
);

t.test('it is not over as long as the history fails, and begins again when it is met again', async (t) => {
  const site = new Site(t);
  const full = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
  site.commit(regular(NOON, 60));
  await site.settle();
  site.clock.advance(HOUR);
  site.onStage = () => {
    throw full;
  };
  for (let minute = 0; minute < 10; minute++) {
    await site.settle();
    site.clock.advance(MINUTE);
  }
  t.match(site.historian.state(), { failing: /no space/ });
  t.equal(kinds(site)[0], 'disk-full disk');
  t.equal(kinds(site).filter((kind) => kind.startsWith('disk-')).length, 1);

  site.onStage = () => {};
  for (let minute = 0; minute < 5; minute++) {
    site.clock.advance(MINUTE);
    await site.settle();
  }
  t.match(site.historian.state(), { failing: null });
  site.historian.shed();
  await site.settle();

  const told = kinds(site).filter((kind) => kind.startsWith('disk-'));
  t.same(told, ['disk-full disk', 'disk-has-room disk', 'disk-full disk']);
});

t.test(
  'words of a full disk that has room again cost no file, and one that has none costs the oldest',
  async (t) => {
    const site = new Site(t);
    site.log.start(NOON);
    for (let day = 0; day < 4; day++) {
      site.commit(regular(site.clock.wall, 60));
      site.clock.advance(DAY);
      await site.settle();
      await site.nextHour();
    }
    const before = site.files('raw');
    site.hasRoom = true;

    for (let word = 0; word < 3; word++) {
      site.historian.shed();
      await site.settle();
    }
    t.same(site.files('raw'), before);
    t.same(kinds(site), ['disk-full disk']);

    site.hasRoom = false;
    site.clock.advance(20_000); // what was found in vain is not believed for long
    site.historian.shed();
    await site.settle();
    t.same(site.files('raw'), before.slice(1));
  },
);
