import t from 'tap';
import { type CommandCounts, createCommander } from '../../src/commands/commander.ts';
import { silentLog } from '../../src/core/log.ts';
import { commandFigures } from '../../src/housekeeping.ts';
import { HandClock } from '../support/clock.ts';

t.test('commands that were refused are counted in the figures, whatever the reason', async (t) => {
  const commander = createCommander({
    points: [],
    write: async () => {},
    readBack: async () => true,
    clock: new HandClock(),
    log: silentLog,
    signal: new AbortController().signal,
  });
  const ask = async (payload: string): Promise<unknown> =>
    commander.handle({
      by: 'hmi',
      device: 'press-1',
      point: 'breaker',
      payload: Buffer.from(payload),
      retained: false,
    });

  await ask('no JSON');
  await ask('{"id":"1","value":true}');

  const counts: CommandCounts = commander.counts();
  t.same(commandFigures(counts), { commandsDone: 0, commandsFailed: 0, commandsRefused: 2 });
});
