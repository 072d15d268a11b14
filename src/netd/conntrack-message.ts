import { parseAddress } from '../config/network.ts';
import { ICMP, ICMPV6 } from '../segmentation/packet.ts';
import type { Connection } from '../segmentation/connections.ts';

// A message of netlink that deletes exactly one entry of connection tracking (linux/netfilter/nfnetlink_conntrack.h).
// Headers are in the order of the machine, which is little-endian on all that Debian has for us; values as on the wire.

const DELETE = (1 << 8) | 2; // NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE
const REQUEST_AND_ACK = 1 | 4;
const NESTED = 0x8000;
const FAMILY: Readonly<Record<4 | 6, number>> = { 4: 2, 6: 10 }; // AF_INET, AF_INET6
const TUPLE_ORIG = 1;
const ID = 12;
const ZONE = 18;

export function deletion(connection: Connection, sequence: number): Buffer {
  const { family, id, trackingZone } = connection;
  const body = Buffer.concat([
    Buffer.from([FAMILY[family], 0, 0, 0]),
    attribute(TUPLE_ORIG | NESTED, tuple(connection)),
    // Whoever opened the same anew meanwhile was judged by the new rules.
    ...(id === 0 ? [] : [attribute(ID, be32(id))]),
    ...(trackingZone === 0 ? [] : [attribute(ZONE, be16(trackingZone))]),
  ]);
  const head = Buffer.alloc(16);
  head.writeUInt32LE(head.length + body.length, 0);
  head.writeUInt16LE(DELETE, 4);
  head.writeUInt16LE(REQUEST_AND_ACK, 6);
  head.writeUInt32LE(sequence, 8);
  return Buffer.concat([head, body]);
}

function tuple({ family, protocol, source, destination, icmp, ...ports }: Connection): Buffer {
  const [first, second] = family === 4 ? [1, 2] : [3, 4];
  const addresses = [attribute(first, bytesOf(source)), attribute(second, bytesOf(destination))];
  const [id, type, code] = protocol === ICMPV6 ? [7, 8, 9] : [4, 5, 6];
  const details =
    icmp !== undefined && (protocol === ICMP || protocol === ICMPV6)
      ? [
          attribute(id, be16(icmp.id)),
          attribute(type, Buffer.from([icmp.type])),
          attribute(code, Buffer.from([icmp.code])),
        ]
      : [attribute(2, be16(ports.sourcePort)), attribute(3, be16(ports.destinationPort))];
  return Buffer.concat([
    attribute(1 | NESTED, Buffer.concat(addresses)),
    attribute(2 | NESTED, Buffer.concat([attribute(1, Buffer.from([protocol])), ...details])),
  ]);
}

/** Padded to four bytes; its length says nothing of the padding. */
function attribute(type: number, value: Buffer): Buffer {
  const length = 4 + value.length;
  const whole = Buffer.alloc((length + 3) & ~3);
  whole.writeUInt16LE(length, 0);
  whole.writeUInt16LE(type, 2);
  value.copy(whole, 4);
  return whole;
}

function bytesOf(text: string): Buffer {
  const { family = 4, value = 0n } = parseAddress(text) ?? {};
  return Buffer.from(value.toString(16).padStart(family === 4 ? 8 : 32, '0'), 'hex');
}

function be16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

function be32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
