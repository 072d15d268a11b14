import type { EpochMs } from '../core/units.ts';
import type { Config } from './config.ts';
import type { Finding } from './parse.ts';

/**
 * Times that are over: what they observed is denied. No problem of the file to whoever runs it, so that a gateway that
 * starts after that day starts; whoever checks it shall take them out.
 */
export function expired({ segmentation, conduits }: Config, now: EpochMs): Finding[] {
  const fix = 'what it observed is denied now: take it out, or set a later one';
  const places = [
    { path: 'segmentation.observe-until', until: segmentation.observeUntil },
    ...conduits.map(({ observeUntil }, i) => ({
      path: `conduits[${i}].observe-until`,
      until: observeUntil,
    })),
  ];
  return places.flatMap(({ path, until }) =>
    until === undefined || until > now
      ? []
      : [{ path, found: `${new Date(until).toISOString().slice(0, 16)}Z is over`, fix }],
  );
}

/** Observing is a step on the way, and steps that have no end stay. */
export function endless({ segmentation: { mode, observeUntil } }: Config): Finding[] {
  if (mode !== 'observe' || observeUntil !== undefined) return [];
  return [
    {
      path: 'segmentation.mode',
      found: 'observe, without an end',
      fix: 'add observe-until: 2026-12-31 with your day, when it shall be enforce',
    },
  ];
}
