import { parentPort, workerData } from 'node:worker_threads';
import { Engine } from './engine.ts';
import type { ReadRow } from './hand-out.ts';
import type { Reply, Request, WorkerOptions } from './protocol.ts';
import { type ThreadReply, failureOf, threadLog } from './thread.ts';

// The store's thread: owns the database, obeys the requests of outbox.ts in their order.

/** A buffer may be this much longer than the text in it; inflating takes a byte more than it fills. */
const SLACK_BYTES = 64;

function tell(reply: Reply | ThreadReply, buffers: ArrayBuffer[] = []): void {
  parentPort?.postMessage(reply, buffers);
}

const log = threadLog(tell);

/** A text that fills its own buffer may leave this thread; what is kept here, or shares a buffer, goes as a copy. */
function handedOver({ text, kept }: ReadRow): Uint8Array<ArrayBuffer> {
  const { buffer } = text;
  if (!kept && buffer instanceof ArrayBuffer && buffer.byteLength <= text.length + SLACK_BYTES)
    return new Uint8Array(buffer, text.byteOffset, text.length);
  return new Uint8Array(text);
}

function obey(engine: Engine, request: Request): void {
  switch (request.type) {
    case 'append':
      return engine.append(request.id, request.batch);
    case 'record':
      return engine.record(request.id, request.batch);
    case 'filed':
      return engine.filed(request.row);
    case 'allow':
      return engine.allow(request.limit);
    case 'event':
      return engine.event(request.id, request.topic, request.payload);
    case 'acknowledge':
      return engine.acknowledge(request.name, request.lane, request.rows);
    default:
      return answer(engine, request);
  }
}

type Question = Exclude<Request, { type: 'append' | 'record' | 'event' | 'acknowledge' | 'filed' | 'allow' }>;

function answer(engine: Engine, request: Question): void {
  const { id, type } = request;
  try {
    switch (type) {
      case 'consumer':
        return tell({ type: 'unread', id, unread: engine.consumer(request.name, request.note) });
      case 'rewind':
        return tell({ type: 'unread', id, unread: engine.rewind(request.name) });
      case 'read': {
        const { rows, unread } = engine.read(request.name, request.lane, request.limit);
        const texts = rows.map(handedOver);
        const buffers = texts.map(({ buffer }) => buffer);
        return tell({ type: 'rows', id, rows: { ids: rows.map((row) => row.id), texts }, unread }, buffers);
      }
      case 'consumers':
        return tell({ type: 'consumers', id, consumers: engine.consumers() });
      case 'state':
        return tell({ type: 'state', id, state: engine.state() });
      case 'lost':
        if (request.samples > 0) engine.lost(request.samples, request.reason);
        if (request.outage !== undefined) engine.unrecorded(request.outage);
        return tell({ type: 'done', id });
      case 'forget':
        engine.forget(request.name);
        return tell({ type: 'done', id });
      case 'close':
        engine.close();
        tell({ type: 'done', id });
        return parentPort?.close();
      default:
        return type satisfies never;
    }
  } catch (error) {
    tell({ type: 'failed', ids: [id], failure: failureOf(error, `the outbox cannot do "${type}"`) });
  }
}

function start(options: WorkerOptions): void {
  let engine: Engine;
  try {
    engine = new Engine(options, { log, tell });
  } catch (error) {
    tell({ type: 'cannot start', failure: failureOf(error, `the outbox cannot open ${options.file}`) });
    return;
  }
  parentPort?.on('message', (request: Request) => obey(engine, request));
  tell({ type: 'ready' });
}

start(workerData);
