import { Worker } from 'node:worker_threads';
import t from 'tap';
import { silentLog } from '../../src/core/log.ts';
import { Link } from '../../src/store/link.ts';

interface Answer {
  readonly type: string;
  readonly id: number;
}

/** Answers when it is told to, and not before. */
const SLOW = `
  const { parentPort } = require('node:worker_threads');
  const asked = [];
  parentPort.on('message', ({ type, id }) => {
    if (type === 'ask') asked.push(id);
    else if (type === 'answer') for (const waiting of asked.splice(0)) parentPort.postMessage({ type: 'answer', id: waiting });
    else { parentPort.postMessage({ type: 'done', id }); parentPort.close(); }
  });
  parentPort.postMessage({ type: 'ready' });
`;

const spawn = (): Worker => new Worker(SLOW, { eval: true, execArgv: [] });

t.test('of more questions than may wait the last ones are refused and counted', async (t) => {
  const link = new Link<{ type: string; id?: number }, Answer>({ name: 'oracle', spawn, log: silentLog });
  await link.open();
  t.teardown(async () => link.close());
  const ask = async (): Promise<Answer> => link.question((id) => ({ type: 'ask', id }));

  const asked = Array.from({ length: 110 }, ask);
  const refused = await Promise.allSettled(asked.slice(100));
  t.ok(refused.every(({ status }) => status === 'rejected'));
  t.match(refused[0], { reason: { code: 'BUSY', message: /oracle has 100 questions/ } });
  t.equal(link.refused, 10);

  link.post({ type: 'answer' });
  t.equal((await Promise.all(asked.slice(0, 100))).length, 100);
  const again = ask();
  link.post({ type: 'answer' });
  t.match(await again, { type: 'answer' }, 'there is room again');
});
