import { setTimeout as pause } from 'node:timers/promises';
import t from 'tap';
import { untilInterrupted } from '../../src/cli/until-interrupted.ts';

const HOUR_MS = 3_600_000;

for (const how of ['SIGINT', 'SIGTERM'] as const) {
  t.test(`work that waits for a timer is stopped by ${how}, and says what is left`, async (t) => {
    const work = untilInterrupted('probe', 'nothing is left', async (signal) => {
      process.kill(process.pid, how);
      await pause(HOUR_MS, undefined, { signal });
    });

    await t.rejects(work, { code: 'SETUP', message: 'the probe was stopped', remedy: 'nothing is left' });
  });
}

t.test('what fails of itself is told as it is, also when somebody stops it', async (t) => {
  const failed = new Error('no space left on device');

  const work = untilInterrupted('probe', 'nothing is left', async (signal) => {
    process.kill(process.pid, 'SIGINT');
    await pause(HOUR_MS, undefined, { signal }).catch(() => {});
    throw failed;
  });

  await t.rejects(work, failed);
});
