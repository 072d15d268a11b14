import { parentPort, workerData } from 'node:worker_threads';
import { SluiceError, errorText } from '../core/errors.ts';
import type { Facts, Log } from '../core/log.ts';
import { Engine } from './engine.ts';
import type { StoredRow } from './journal.ts';
import type { Failure, Reply, Request, Rows, WorkerOptions } from './protocol.ts';

// The store's thread: owns the database, obeys the requests of outbox.ts in their order.

function tell(reply: Reply, buffers: ArrayBuffer[] = []): void {
  parentPort?.postMessage(reply, buffers);
}

const logAs =
  (level: 'info' | 'warn' | 'error') =>
  (what: string, facts: Facts = {}): void =>
    tell({ type: 'log', level, what, facts });
const log: Log = { info: logAs('info'), warn: logAs('warn'), error: logAs('error') };

function failureOf(error: unknown, what: string): Failure {
  if (error instanceof SluiceError) return { code: error.code, message: error.message, remedy: error.remedy };
  return { code: 'STORE_FAILED', message: `${what}: ${errorText(error)}`, remedy: undefined };
}

function inOneBuffer(rows: readonly StoredRow[]): Rows {
  const texts = new Uint8Array(rows.reduce((sum, { text }) => sum + text.length, 0));
  let at = 0;
  for (const { text } of rows) {
    texts.set(text, at);
    at += text.length;
  }
  return { ids: rows.map(({ id }) => id), lengths: rows.map(({ text }) => text.length), texts };
}

function obey(engine: Engine, request: Request): void {
  switch (request.type) {
    case 'append':
      return engine.append(request.id, request.batch);
    case 'event':
      return engine.event(request.id, request.topic, request.payload);
    case 'acknowledge':
      return engine.acknowledge(request.name, request.lane, request.rows);
    default:
      return answer(engine, request);
  }
}

type Question = Exclude<Request, { type: 'append' | 'event' | 'acknowledge' }>;

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
        const packed = inOneBuffer(rows);
        return tell({ type: 'rows', id, rows: packed, unread }, [packed.texts.buffer]);
      }
      case 'consumers':
        return tell({ type: 'consumers', id, consumers: engine.consumers() });
      case 'state':
        return tell({ type: 'state', id, state: engine.state() });
      case 'lost':
        engine.lost(request.samples, request.reason);
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
    engine = new Engine(options, log, tell);
  } catch (error) {
    tell({ type: 'cannot start', failure: failureOf(error, `the outbox cannot open ${options.file}`) });
    return;
  }
  parentPort?.on('message', (request: Request) => obey(engine, request));
  tell({ type: 'ready' });
}

start(workerData);
