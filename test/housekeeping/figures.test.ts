import t from 'tap';
import { type CommandCounts, createCommander } from '../../src/commands/commander.ts';
import { silentLog } from '../../src/core/log.ts';
import type { OutboxState } from '../../src/core/outbox.ts';
import { mebibytes, minutes } from '../../src/core/units.ts';
import { commandFigures, outboxFigures } from '../../src/housekeeping.ts';
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

t.test(
  'the figures tell in hours how long an outage the outbox holds and how long its backlog needs',
  async (t) => {
    const state: OutboxState = {
      rows: 3,
      bytes: 4_096,
      nextSeq: 17,
      commits: 5,
      samplesCommitted: 100,
      samplesLost: 0,
      messagesDropped: 0,
      samplesRecorded: 200,
      samplesUnrecorded: 0,
      failing: null,
      limit: mebibytes(1),
      bytesPerSecond: 10,
      holdsFor: minutes(90),
      messagesWaiting: 3,
      drainsIn: undefined,
    };

    const { holdsHours, drainsHours } = outboxFigures(state);

    t.equal(holdsHours, 1.5);
    t.equal(drainsHours, 'unknown', 'nothing has drained yet');
  },
);
