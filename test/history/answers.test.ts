import t from 'tap';
import { bytes, milliseconds } from '../../src/core/units.ts';
import { Answers } from '../../src/store/history/answers.ts';
import { Stopped } from '../../src/store/history/pace.ts';
import { until } from '../support/wait.ts';

function answersOf(options: Partial<ConstructorParameters<typeof Answers>[0]> = {}): Answers {
  return new Answers({ signal: new AbortController().signal, behind: () => false, ...options });
}

/** Items that take some milliseconds each. */
function* items(count: number, begin: () => void = () => {}): Generator<number, void, void> {
  begin();
  for (let item = 0; item < count; item++) {
    const end = performance.now() + 4;
    while (performance.now() < end);
    yield item;
  }
}

t.test('many questions at once are answered two at a time, in the order in which they came', async (t) => {
  const answers = answersOf();
  const begun: number[] = [];
  let [working, most] = [0, 0];
  const begin = (): void => {
    working++;
    most = Math.max(most, working);
  };
  const ask = async (question: number): Promise<void> => {
    const all = await answers.collect(
      function* () {
        begun.push(question);
        yield* items(20, begin);
        working--;
      },
      () => 1,
    );
    t.equal(all.length, 20);
  };

  await Promise.all(Array.from({ length: 8 }, async (_, question) => ask(question)));

  t.equal(most, 2);
  t.same(begun, [0, 1, 2, 3, 4, 5, 6, 7]);
});

t.test(
  'an answer that is too large, or takes too long, is refused, and the next one is answered',
  async (t) => {
    const answers = answersOf({ mostBytes: bytes(100), mostTime: milliseconds(120) });
    const sized = (size: number) =>
      answers.collect(
        () => [1, 2, 3],
        () => size,
      );

    await t.rejects(sized(40), { code: 'USAGE', message: /too large/, remedy: /fewer points/ });
    await t.rejects(
      answers.collect(
        () => items(500),
        () => 0,
      ),
      { code: 'USAGE', message: /too long/ },
    );
    t.same(await sized(30), [1, 2, 3]);
    t.same(await sized(30), [1, 2, 3], 'and no place was lost');
  },
);

t.test('answers wait while filing is behind, and go on now and then where it stays behind', async (t) => {
  let isBehind = true;
  const answers = answersOf({ behind: () => isBehind });
  const seen: number[] = [];
  const begun = performance.now();
  const answer = answers.collect(
    function* () {
      for (const item of items(60)) {
        seen.push(performance.now() - begun);
        yield item;
      }
    },
    () => 0,
  );

  await until('the first slice', () => seen.length > 0);
  t.ok((seen[0] ?? 0) < 200, 'what one slice brings waits for nothing');
  const first = seen.length;
  await until('it goes on in spite of that', () => seen.length > first);
  t.ok((seen[first] ?? 0) - (seen[first - 1] ?? 0) >= 200, 'the second slice has to wait');
  const second = seen.length;
  await until('and the third', () => seen.length > second);
  t.ok((seen[second] ?? 0) - (seen[second - 1] ?? 0) >= 200);
  isBehind = false;
  t.equal((await answer).length, 60);
});

t.test('an answer is given up when the thread ends, also one that waits for filing', async (t) => {
  const stop = new AbortController();
  const answers = answersOf({ signal: stop.signal, behind: () => true });
  const answer = answers.collect(
    () => items(100), // more than one slice
    () => 0,
  );
  answer.catch(() => {});

  stop.abort();

  await t.rejects(answer, Stopped);
});
