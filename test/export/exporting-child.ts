// Exports made-up samples into nothing and prints how many, how many bytes, its largest memory and its time as JSON:
// FORMAT SAMPLES.
import { type Batch, BatchBuilder } from '../../src/core/batch.ts';
import { FORMATS } from '../../src/export/encoder.ts';
import { exportSamples } from '../../src/export/export.ts';

const format = FORMATS.find((known) => known === process.argv[2]) ?? 'csv';
const wanted = Number(process.argv[3]);

const BATCH = 16_384; // what the reader of the history hands over
const SERIES = 50;
const PER_DAY = 86_400;
const START = Date.UTC(2026, 0, 1);
const names = Array.from({ length: SERIES }, (_, i) => ({
  device: `meter-${i}`,
  point: 'power',
  unit: 'kW',
}));

/** Day by day, series by series, once a second; now and then a sample that is not good, and a text. */
function* batches(): Generator<Batch, void, void> {
  const builder = new BatchBuilder();
  for (let k = 0; k < wanted; k++) {
    const series = Math.floor(k / PER_DAY) % SERIES;
    const day = Math.floor(k / (PER_DAY * SERIES));
    const time = START + day * 86_400_000 + (k % PER_DAY) * 1_000;
    if (k % 1_000 === 7) builder.addBad(series, time, 1);
    else if (k % 5_000 === 9) builder.addText(series, time, `state ${k}`);
    else builder.addNumber(series, time, Math.round(4_000 + 900 * Math.sin(k / 700)) / 10);
    if (builder.count < BATCH) continue;
    const batch = builder.take();
    if (batch !== undefined) yield batch;
  }
  const rest = builder.take();
  if (rest !== undefined) yield rest;
}

let bytes = 0;
const begun = performance.now();
const samples = await exportSamples({
  samples: { names, batches: batches() },
  format,
  write: async (piece) => {
    bytes += piece.length;
  },
});
const seconds = (performance.now() - begun) / 1_000;
const megabytes = process.resourceUsage().maxRSS / 1_024;
process.stdout.write(`${JSON.stringify({ samples, bytes, megabytes, seconds })}\n`);
