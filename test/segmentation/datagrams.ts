import { checksum, ip4, ip6, u16 } from './frames.ts';

// Packets as hosts send them, and as they can be dressed up so that a filter that looks at the first bytes alone is
// deceived: in fragments, behind extension headers, with options, with flags that no stack sets.

export interface Ends {
  readonly source: string;
  readonly target: string;
}

/** What a packet carries, without a checksum yet: that needs to know both ends. */
export interface Transport {
  readonly protocol: number;
  readonly bytes: Buffer;
  /** Where its checksum lies. */
  readonly sum: number;
}

const TCP = 6;
const UDP = 17;
const ICMP = 1;
const ICMPV6 = 58;

/** FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32 (RFC 9293, 3.1). */
export const FLAGS = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16, urg: 32 } as const;

export interface TcpNumbers {
  readonly sequence?: number;
  readonly acknowledged?: number;
}

export function tcp(
  [from, to]: readonly [number, number],
  flags: number,
  text: string,
  { sequence = 1_000, acknowledged = 0 }: TcpNumbers = {},
): Transport {
  const numbers = Buffer.alloc(8);
  numbers.writeUInt32BE(sequence, 0);
  numbers.writeUInt32BE(acknowledged, 4);
  const rest = Buffer.concat([Buffer.from([0x50, flags]), u16(0xffff, 0, 0)]);
  return {
    protocol: TCP,
    bytes: Buffer.concat([u16(from, to), numbers, rest, Buffer.from(text)]),
    sum: 16,
  };
}

export function udp([from, to]: readonly [number, number], text: string): Transport {
  const data = Buffer.from(text);
  return { protocol: UDP, bytes: Buffer.concat([u16(from, to, 8 + data.length, 0), data]), sum: 6 };
}

/** A message of ICMP or ICMPv6 with two words of 16 bits behind its checksum: of an echo, its id and its number. */
export function icmp(
  family: 4 | 6,
  type: number,
  words: readonly [number, number],
  rest: Buffer | string,
  code = 0,
): Transport {
  return {
    protocol: family === 4 ? ICMP : ICMPV6,
    bytes: Buffer.concat([Buffer.from([type, code]), u16(0, ...words), Buffer.from(rest)]),
    sum: 2,
  };
}

export const familyOf = ({ target }: Ends): 4 | 6 => (target.includes(':') ? 6 : 4);

/** The bytes of a transport between two ends, its checksum right. */
function carried(ends: Ends, { protocol, bytes, sum }: Transport): Buffer {
  const message = Buffer.from(bytes);
  const v4 = familyOf(ends) === 4;
  const address = v4 ? ip4 : ip6;
  const length = v4 ? u16(protocol, message.length) : u16(0, message.length, 0, protocol);
  const pseudo = Buffer.concat([address(ends.source), address(ends.target), length]);
  // Of one byte too many a checksum takes a zero behind it.
  const padded = message.length % 2 === 0 ? message : Buffer.concat([message, Buffer.alloc(1)]);
  message.writeUInt16BE(checksum(protocol === ICMP ? [padded] : [pseudo, padded]), sum);
  return message;
}

let identity = 0;
const nextIdentity = (): number => {
  identity = (identity + 1) % 0xffff;
  return identity + 1;
};

interface Piece {
  /** In units of eight bytes. */
  readonly offset: number;
  readonly more: boolean;
  readonly bytes: Buffer;
}

function header4(ends: Ends, protocol: number, options: Buffer, { offset, more, bytes }: Piece, id: number) {
  const length = 20 + options.length;
  const head = Buffer.concat([
    Buffer.from([0x40 | (length / 4), 0]),
    u16(length + bytes.length, id, (more ? 0x2000 : 0) | offset),
    Buffer.from([64, protocol]),
    u16(0),
    ip4(ends.source),
    ip4(ends.target),
    options,
  ]);
  head.writeUInt16BE(checksum([head]), 10);
  return Buffer.concat([head, bytes]);
}

function packet6({ source, target }: Ends, next: number, body: Buffer): Buffer {
  const head = Buffer.concat([Buffer.from([0x60, 0, 0, 0]), u16(body.length), Buffer.from([next, 64])]);
  return Buffer.concat([head, ip6(source), ip6(target), body]);
}

/** One or several packets that carry the same message. */
export type Dress = (ends: Ends, transport: Transport) => Buffer[];

const whole = (bytes: Buffer): Piece => ({ offset: 0, more: false, bytes });

export const plain: Dress = (ends, transport) => {
  const bytes = carried(ends, transport);
  if (familyOf(ends) === 6) return [packet6(ends, transport.protocol, bytes)];
  return [header4(ends, transport.protocol, Buffer.alloc(0), whole(bytes), nextIdentity())];
};

/** Options of IPv4, padded to words by whoever gives them. */
export const withOptions =
  (options: readonly number[]): Dress =>
  (ends, transport) => [
    header4(ends, transport.protocol, Buffer.from(options), whole(carried(ends, transport)), nextIdentity()),
  ];

/** Two fragments, the first of so many bytes: with eight it has no flags of TCP, and nothing but ports. */
export const inFragments =
  (first: number, { lastFirst = false } = {}): Dress =>
  (ends, transport) => {
    const bytes = carried(ends, transport);
    const id = nextIdentity();
    const pieces: Piece[] = [
      { offset: 0, more: true, bytes: bytes.subarray(0, first) },
      { offset: first / 8, more: false, bytes: bytes.subarray(first) },
    ];
    const packets = pieces.map((piece) => {
      if (familyOf(ends) === 4) return header4(ends, transport.protocol, Buffer.alloc(0), piece, id);
      const field = (piece.offset << 3) | (piece.more ? 1 : 0);
      const header = Buffer.concat([Buffer.from([transport.protocol, 0]), u16(field, 0, id)]);
      return packet6(ends, 44, Buffer.concat([header, piece.bytes]));
    });
    return lastFirst ? packets.toReversed() : packets;
  };

/** The only fragment of a whole packet (RFC 6946). */
export const inOneFragment: Dress = (ends, transport) => {
  const header = Buffer.concat([Buffer.from([transport.protocol, 0]), u16(0, 0, nextIdentity())]);
  return [packet6(ends, 44, Buffer.concat([header, carried(ends, transport)]))];
};

/** Extension headers of IPv6 (RFC 8200, 4): hop-by-hop 0, routing 43, destination options 60. */
export const behind =
  (...kinds: readonly (0 | 43 | 60)[]): Dress =>
  (ends, transport) => {
    const nexts = [...kinds.slice(1), transport.protocol];
    const headers = kinds.map((kind, i) =>
      // A routing header without segments left is passed over; the other two hold four bytes of padding.
      Buffer.from(kind === 43 ? [nexts[i] ?? 0, 0, 2, 0, 0, 0, 0, 0] : [nexts[i] ?? 0, 0, 1, 4, 0, 0, 0, 0]),
    );
    return [
      packet6(ends, kinds[0] ?? transport.protocol, Buffer.concat([...headers, carried(ends, transport)])),
    ];
  };
