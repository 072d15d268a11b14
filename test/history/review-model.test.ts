import t from 'tap';
import { Model } from './review-model.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** How many seeds; each takes a few seconds. */
const RUNS = Number(process.env['MODEL_RUNS'] ?? 1);
const ROUNDS = 40;

for (let run = 0; run < RUNS; run++) {
  const seed = RUNS === 1 ? 20 : run + 1;
  t.test(
    `whatever was recorded is what is answered, over restarts and late samples (seed ${seed})`,
    async (t) => {
      const model = new Model(t, seed);
      const { now, rawFrom } = model;
      await model.start();

      for (let round = 0; round < ROUNDS; round++) {
        for (let batches = model.upTo(6); batches >= 0; batches--) await model.record();
        await model.room();
        const from = now - model.upTo(4 * DAY);
        const to = from + 1 + model.upTo(2 * DAY);
        switch (model.upTo(5)) {
          case 0: {
            const { found, expected } = await model.samples(from, to);
            t.same(found, expected, `samples, round ${round}`);
            break;
          }
          case 1: {
            const { found, expected } = await model.samples(now - 20 * DAY, now + 2 * DAY);
            t.same(found, expected, `all samples, round ${round}`);
            break;
          }
          case 2: {
            const ask = { width: 1 + model.upTo(2_000), since: rawFrom };
            const { found, expected } = await model.chart(from, to, ask);
            t.same(found, expected, `chart of ${ask.width} pixels, round ${round}`);
            break;
          }
          case 3: {
            const tier = (['raw', 'minute', 'hour'] as const)[model.upTo(3)] ?? 'raw';
            const { found, expected } = await model.chart(from, to, { width: 300, tier, since: rawFrom });
            t.same(found, expected, `chart of tier ${tier}, round ${round}`);
            break;
          }
          default:
            if (model.upTo(4) === 0) {
              await model.stop();
              await model.start();
            }
        }
      }
    },
  );
}
