import t from 'tap';
import { type CommandCounts, createCommander } from '../../src/commands/commander.ts';
import { silentLog } from '../../src/core/log.ts';
import type { HistoryState } from '../../src/core/history.ts';
import type { OutboxState } from '../../src/core/outbox.ts';
import { mebibytes, milliseconds, minutes } from '../../src/core/units.ts';
import { commandFigures, historyFigures, outboxFigures } from '../../src/housekeeping.ts';
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
      samplesUnrecorded: 7,
      failing: 'the disk is full',
      limit: mebibytes(1),
      bytesPerSecond: 10,
      holdsFor: minutes(90),
      messagesWaiting: 3,
      drainsIn: undefined,
    };

    const { holdsHours, drainsHours, unrecorded, outboxFailing } = outboxFigures(state);

    t.equal(holdsHours, 1.5);
    t.equal(drainsHours, 'unknown', 'nothing has drained yet');
    t.same([unrecorded, outboxFailing], [7, 'the disk is full'], 'and what is lost, and why');
  },
);

t.test('the figures tell what the history loses', async (t) => {
  const state: HistoryState = {
    samplesFiled: 100,
    samplesWaiting: 5,
    samplesLate: 3,
    samplesRefused: 2,
    oldestRaw: undefined,
    oldestMinute: undefined,
    oldestHour: undefined,
    bytes: mebibytes(10),
    quota: mebibytes(100),
    filesDropped: 1,
    questionsRefused: 0,
    namesLeftOut: 0,
    behind: minutes(150),
    failing: null,
  };

  t.match(historyFigures(state), { late: 3, refused: 2, behindHours: 2.5, historyFailing: 'no' });
  const failing = { ...state, behind: milliseconds(0), failing: 'no room' };
  t.match(historyFigures(failing), { behindHours: 0, historyFailing: 'no room' });
});
