import { type Connection, netdAt } from '../../src/netd/client.ts';
import type { Request } from '../../src/netd/request.ts';
import { until } from '../support/wait.ts';
import { be } from './check.ts';

/** An emulated processor starts Node in several seconds, and TCP tries again after twice as long each time. */
export const PATIENCE_MS = 180_000;

/**
 * What netd answers, by a connection of its own; throws where that is not good. By the socket alone: a start of Node for
 * each command would take most of the time under emulation.
 */
export async function asked(socket: string, request: Request): Promise<string> {
  using connection = await until(
    'netd',
    async (): Promise<Connection | undefined> => netdAt(socket),
    PATIENCE_MS,
  );
  const { good, text, result } = await connection.ask(request);
  be(good, text);
  return JSON.stringify(result);
}
