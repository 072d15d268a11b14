// Does one job of a history scenario in a process of its own, whose CPU, memory and writes are nobody else's.
import { z } from 'zod';
import { answering } from './answering.ts';
import { flat, flatRows, flatRowsSetup, flatSetup, sequential, sequentialSetup } from './history-flat-job.ts';
import { ingest, ingestSetup } from './history-ingest-job.ts';
import { retention, retentionSetup } from './history-retention-job.ts';
import { written, writtenRows, writtenRowsSetup, writtenSetup } from './history-written-job.ts';
import { year, yearSetup } from './history-year-job.ts';

const setup = z.discriminatedUnion('job', [
  ingestSetup,
  flatSetup,
  flatRowsSetup,
  sequentialSetup,
  writtenSetup,
  writtenRowsSetup,
  yearSetup,
  retentionSetup,
]);

answering(async (ask) => {
  const job = setup.parse(ask);
  switch (job.job) {
    case 'ingest':
      return ingest(job);
    case 'flat':
      return flat(job);
    case 'flat rows':
      return flatRows(job);
    case 'sequential':
      return sequential(job);
    case 'written':
      return written(job);
    case 'written rows':
      return writtenRows(job);
    case 'year':
      return year(job);
    case 'retention':
      return retention(job);
    default:
      return job satisfies never;
  }
});
