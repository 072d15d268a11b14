import { z } from 'zod';

/** A plant, see plant.ts. */
export const slaveSetup = z.object({
  endpoints: z.number(),
  units: z.number(),
  points: z.number(),
  every: z.number(),
});

export const slaveAsk = z.discriminatedUnion('what', [
  z.object({ what: z.enum(['ports', 'reset', 'report']) }),
  /** These devices never answer again. */
  z.object({ what: z.literal('silence'), devices: z.array(z.number()) }),
]);
export type SlaveAsk = z.infer<typeof slaveAsk>;

export const ports = z.array(z.number());

const spread = z.object({ count: z.number(), p50: z.number(), p99: z.number(), max: z.number() });

/** What the slave was asked since the last reset. */
export const slaveReport = z.object({
  seconds: z.number(),
  requests: z.number(),
  /** Values that were given: two registers each. */
  values: z.number(),
  bytesIn: z.number(),
  bytesOut: z.number(),
  /** Milliseconds between the beginnings of two cycles of a unit. */
  period: spread,
  /** Cycles that began more than a tenth of the period too late. */
  late: z.number(),
});
export type SlaveReport = z.infer<typeof slaveReport>;
