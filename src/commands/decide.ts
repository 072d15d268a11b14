import type { PointConfig } from '../config/config.ts';
import type { Command } from '../core/command.ts';
import type { EpochMs } from '../core/units.ts';
import { fits, withinLimits } from './fit.ts';
import { quoted } from './quote.ts';
import { type Decision, refusal } from './refusal.ts';

export interface Question {
  readonly command: Command;
  /** What the command names; undefined where there is no such point. */
  readonly point: PointConfig | undefined;
  readonly deviceKnown: boolean;
  readonly retained: boolean;
  readonly expires: EpochMs | undefined;
  readonly now: EpochMs;
}

/** May this write happen? Denied unless everything speaks for it. Who may ask at all is the broker's decision. */
export function decide({ command, point, deviceKnown, retained, expires, now }: Question): Decision {
  if (retained) {
    return refusal(
      'retained',
      'a retained command would be carried out again at every connection; send it unretained',
    );
  }
  if (!deviceKnown) return refusal('unknown device', `there is no device ${quoted(command.device)}`);
  if (point === undefined)
    return refusal('unknown point', `${command.device} has no point ${quoted(command.point)}`);
  if (!point.writable) {
    return refusal(
      'not writable',
      `${point.device}/${point.name} is not writable; gateway.yaml would have to say so`,
    );
  }
  const late = decideTime(expires, now);
  if (!late.allowed) return late;
  const fit = fits(point, command.value);
  return fit.allowed ? withinLimits(point, command.value) : fit;
}

/** Asked again right before the write: a command may have waited. */
export function decideTime(expires: EpochMs | undefined, now: EpochMs): Decision {
  if (expires === undefined || now < expires) return { allowed: true };
  return refusal(
    'expired',
    `the command expired at ${new Date(expires).toISOString()}, and it is ${new Date(now).toISOString()}`,
  );
}
