import { encode as encodeCbor } from 'cbor2';
import type { PointValue } from '../../core/batch.ts';
import type { Format } from './payload.ts';
import type { Place } from './typed-value.ts';

/** Digits that survive the way back through a scale: 0.3 / 0.1 is 2.9999999999999996. */
const RAW_DIGITS = 14;

/** The payload of a write: the inverse of `readings`. Undefined where the value does not fit the point. */
export function payloadOf(format: Format, place: Place, value: PointValue): Uint8Array | undefined {
  const raw = rawOf(place, value);
  if (raw === undefined) return undefined;
  switch (format) {
    case 'text':
      return Buffer.from(typeof raw === 'boolean' ? (raw ? '1' : '0') : String(raw));
    case 'json':
      return Buffer.from(JSON.stringify(nested(place.pointer, raw)));
    case 'cbor':
      return encodeCbor(nested(place.pointer, raw));
    case 'senml-json':
      return Buffer.from(
        JSON.stringify([{ ...(place.record === undefined ? {} : { n: place.record }), [label(raw)]: raw }]),
      );
    case 'senml-cbor': {
      const fields = new Map<number, unknown>(place.record === undefined ? [] : [[0, place.record]]);
      fields.set(typeof raw === 'number' ? 2 : typeof raw === 'string' ? 3 : 4, raw);
      return encodeCbor([fields]);
    }
    default:
      return format satisfies never;
  }
}

function rawOf({ type, scale, offset }: Place, value: PointValue): PointValue | undefined {
  if (type === 'bool') return typeof value === 'boolean' ? value : undefined;
  if (type === 'string') return typeof value === 'string' && value.isWellFormed() ? value : undefined;
  if (typeof value !== 'number') return undefined;
  const raw =
    scale === 1 && offset === 0 ? value : Number(((value - offset) / scale).toPrecision(RAW_DIGITS));
  return Number.isFinite(raw) ? raw : undefined;
}

const label = (raw: PointValue): string =>
  typeof raw === 'number' ? 'v' : typeof raw === 'string' ? 'vs' : 'vb';

/** `/a/b` and 1 make {"a":{"b":1}}. */
function nested(pointer: string | undefined, raw: PointValue): unknown {
  const parts = pointer === undefined || pointer === '' ? [] : pointer.slice(1).split('/');
  return parts.reduceRight<unknown>(
    (inner, part) => ({ [part.replaceAll('~1', '/').replaceAll('~0', '~')]: inner }),
    raw,
  );
}
