import { z } from 'zod';
import { slaveSetup } from './slave-messages.ts';

/** Where and as whom a baseline publishes; the names of files. */
export const publishing = z.object({
  url: z.string(),
  name: z.string(),
  ca: z.string(),
  cert: z.string(),
  key: z.string(),
});
export type Publishing = z.infer<typeof publishing>;

export const pollerSetup = z.object({
  plant: slaveSetup,
  ports: z.array(z.number()),
  /** Longest wait for one reply, in milliseconds. */
  timeout: z.number(),
  publish: publishing.optional(),
});
export type PollerSetup = z.infer<typeof pollerSetup>;

export const publisherSetup = z.object({
  publish: publishing,
  /** Bytes of a message. */
  size: z.number(),
  /** Messages that may wait for their PUBACK. */
  window: z.number(),
});
export type PublisherSetup = z.infer<typeof publisherSetup>;
