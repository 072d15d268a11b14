import type { Checked } from './checked.ts';
import type { CoapSource } from './config.ts';
import { describe, type Path, type Report } from './problem.ts';
import type { CoapPointKeys } from './schema.ts';

/** Longest Uri-Path or Uri-Query option in bytes (RFC 7252, 5.10). */
const MAX_SEGMENT_BYTES = 255;
/** What a request line of a small device can be expected to take, in bytes. */
const MAX_PATH_BYTES = 800;

/** Where the value of a CoAP point comes from; undefined, and reported, where that is not to be told. */
export function coapSource(
  { shape, whole }: Checked<CoapPointKeys>,
  path: Path,
  report: Report,
): CoapSource | undefined {
  const { at, format = 'auto', pointer, record, type = 'number' } = shape;
  const push = shape.push === true;
  const observe = shape.observe === true;
  const complain = (key: string, found: string, fix: string) => report([...path, key], found, fix);
  if (push && observe) {
    complain('push', 'push and observe', 'keep one: a device either sends by itself or is observed');
  }
  if (push && at !== undefined) {
    complain('at', 'a path of a pushed point', 'leave it out: the device sends to /<device>/<point>');
  }
  const wrong = at === undefined ? undefined : pathProblem(at);
  if (wrong !== undefined) complain('at', ...wrong);
  if (pointer !== undefined && record !== undefined) {
    complain('record', 'record beside pointer', 'keep pointer for JSON and CBOR, record for SenML');
  }
  if (pointer !== undefined && (format === 'text' || format.startsWith('senml'))) {
    complain('pointer', `pointer into ${format}`, 'use it with json, cbor or auto');
  }
  if (record !== undefined && format !== 'auto' && !format.startsWith('senml')) {
    complain('record', `record of ${format}`, 'use it with senml-json, senml-cbor or auto');
  }
  if (at === undefined && !push) {
    if (whole)
      complain('at', 'missing', 'write the path of the resource, such as /sensors/level, or push: true');
    return undefined;
  }
  const mode = push ? 'push' : observe ? 'observe' : 'poll';
  return { kind: 'coap', path: at ?? '', mode, format, pointer, record, type };
}

function pathProblem(at: string): readonly [string, string] | undefined {
  const example = 'write the path of the resource, such as /sensors/level?u=m';
  if (!at.startsWith('/')) return [`${describe(at)} does not begin with /`, example];
  if (/[#\s]/.test(at)) return [`${describe(at)} has a space or #`, example];
  const encoded = Buffer.byteLength(at);
  if (encoded > MAX_PATH_BYTES) return [`a path of ${encoded} bytes`, `use at most ${MAX_PATH_BYTES}`];
  let segments: string[];
  try {
    segments = at.split(/[/?&]/).map(decodeURIComponent);
  } catch {
    return [`${describe(at)} has a broken % sequence`, 'write % itself as %25'];
  }
  if (segments.some((segment) => Buffer.byteLength(segment) > MAX_SEGMENT_BYTES)) {
    return [`a segment of more than ${MAX_SEGMENT_BYTES} bytes`, 'CoAP cannot carry it (RFC 7252, 5.10)'];
  }
  // RFC 7252, 6.4: dot segments are resolved before a request is made, so that a device never sees them.
  const path = at.split('?')[0] ?? '';
  if (path.split('/').some((segment) => segment === '.' || segment === '..'))
    return ['a segment . or ..', 'write the path without it'];
  return undefined;
}
