import type { PointConfig } from '../config/config.ts';
import type { PointValue } from '../core/batch.ts';
import { isPlain64, kindOf, rawOf, wholeOf } from './fit.ts';

/** Two operations, each at most half a unit in the last place of a double, there and back. */
const DOUBLE_ERROR = 4 * Number.EPSILON;

/**
 * Does the device hold what was written? Both are compared as the wire holds them: whole numbers by their digits,
 * a float32 after rounding to a float32, texts without the filling of their registers. Scale and offset cost bits of a
 * double on the way; exactly that much is tolerated and no more.
 */
export function sameOnWire(point: PointConfig, written: PointValue, readBack: PointValue): boolean {
  switch (kindOf(point)) {
    case 'bool':
      return written === readBack;
    case 'string':
      return (
        typeof readBack === 'string' && typeof written === 'string' && trimmed(written) === trimmed(readBack)
      );
    default:
      return isPlain64(point) ? sameDigits(written, readBack) : sameNumber(point, written, readBack);
  }
}

function sameDigits(written: PointValue, readBack: PointValue): boolean {
  const digits = wholeOf(written);
  return digits !== undefined && digits === wholeOf(readBack);
}

function sameNumber(point: PointConfig, written: PointValue, readBack: PointValue): boolean {
  if (typeof written !== 'number' || typeof readBack !== 'number' || !Number.isFinite(readBack)) return false;
  if (Math.abs(written - readBack) <= DOUBLE_ERROR * Math.max(Math.abs(written), Math.abs(point.offset)))
    return true;
  const [raw, rawBack] = [rawOf(point, written), rawOf(point, readBack)];
  return holdsFloat32(point) && Math.fround(raw) === Math.fround(rawBack);
}

/** A CoAP device may keep any number as a float32; CBOR sends the shortest form that holds it. */
function holdsFloat32({ source }: PointConfig): boolean {
  return source.kind === 'coap' || source.type === 'float32';
}

function trimmed(text: string): string {
  return text.replace(/[\0 ]+$/, '');
}
