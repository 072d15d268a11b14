import { parentPort } from 'node:worker_threads';
import type { Reply, Request } from './protocol.ts';
import { type ThreadReply, failureOf } from '../thread.ts';

// The historian's thread: follows the sample log, files, rolls up, sheds, answers queries.

function tell(reply: Reply | ThreadReply, buffers: ArrayBuffer[] = []): void {
  parentPort?.postMessage(reply, buffers);
}

parentPort?.on('message', (request: Request) => {
  if (request.type === 'close') {
    tell({ type: 'done', id: request.id });
    parentPort?.close();
  } else if ('id' in request) {
    const failure = failureOf(new Error('not built yet'), `the history cannot do "${request.type}"`);
    tell({ type: 'failed', ids: [request.id], failure });
  }
});
tell({ type: 'ready' });
