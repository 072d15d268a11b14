import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { DRIFT, DriftBook } from '../../src/netd/drift-book.ts';
import { bootId } from '../../src/netd/monotonic.ts';

const since = '2026-03-01T10:00:00.000Z';

function written(t: Test, json: object): { readonly folder: string; readonly path: string } {
  const folder = t.testdir({ [DRIFT]: JSON.stringify({ v: 1, events: [], ...json }) });
  return { folder, path: join(folder, DRIFT) };
}

t.test('what goes on ends with the start of the machine that it is of', async (t) => {
  const goesOn = { 'given-up': { since }, stopped: ['v4'] };
  const same = written(t, { boot: bootId(), ...goesOn });
  t.match(new DriftBook(same.folder).read(), { givenUp: { since }, stopped: ['v4'] });

  const other = written(t, { boot: 'another', ...goesOn });
  t.strictSame(new DriftBook(other.folder).read(), { events: [], givenUp: undefined, stopped: undefined });
});

t.test('what earlier builds wrote is read', async (t) => {
  const beside = written(t, { 'given-up': null, stopped: ['v6'] });
  t.match(new DriftBook(beside.folder).read(), { givenUp: undefined, stopped: ['v6'] });

  const within = written(t, { 'given-up': { since, stopped: ['v4', 'v6'] } });
  t.match(new DriftBook(within.folder).read(), { givenUp: { since }, stopped: ['v4', 'v6'] });
});

t.test('whoever acts by it goes by its own word, and tells the disk until that has it', async (t) => {
  const { folder, path } = written(t, { boot: bootId(), stopped: ['v4'] });
  const book = new DriftBook(folder);
  book.take();
  rmSync(path);
  t.match(book.read(), { stopped: ['v4'] });
  book.settle();
  t.match(new DriftBook(folder).read(), { stopped: ['v4'] });

  book.note({ givenUp: { since }, stopped: ['v4', 'v6'] });
  t.match(new DriftBook(folder).read(), { givenUp: undefined, stopped: ['v4'] });
  book.settle();
  t.match(new DriftBook(folder).read(), { givenUp: { since }, stopped: ['v4', 'v6'] });

  // Another process that read it before wrote its event only now.
  writeFileSync(path, JSON.stringify({ v: 1, boot: bootId(), events: [], stopped: ['v4'] }));
  book.note({ givenUp: undefined, stopped: undefined });
  book.settle();
  t.match(JSON.parse(readFileSync(path, 'utf8')), { 'given-up': null, stopped: null });
});
