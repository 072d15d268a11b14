import { spawnSync } from 'node:child_process';
import { ipv4Value } from '../segmentation/addresses.ts';

// A datagram in the smallest fragments that IPv4 knows: no stack cuts one so, and whoever wants to hide its ports does.
// perl, an essential part of Debian, carries them to a raw socket, which Node has not.

const IP_HEADER = 20;
const UDP_HEADER = 8;
const UDP = 17;
/** Of data in each but the last one: the unit that offsets are counted in (RFC 791, 3.1). */
const TINY = 8;
const MORE_FRAGMENTS = 0x2000;
const HOPS = 64;

/** Each line is address and packet, in hex. */
const CARRIER = String.raw`
socket(my $s, 2, 3, 255) or die "socket: $!\n";
while (<STDIN>) {
  my ($to, $packet) = split;
  send($s, pack('H*', $packet), 0, pack('S n H8 x8', 2, 0, $to)) or die "send: $!\n";
}
`;

export interface TinyDatagram {
  /** Tells its fragments from those of others. */
  readonly id: number;
  readonly source: string;
  readonly target: string;
  readonly sourcePort: number;
  readonly port: number;
  readonly message: Buffer;
}

export function sendTiny(datagram: TinyDatagram): void {
  const target = address(datagram.target).toString('hex');
  const input = fragments(datagram).map((packet) => `${target} ${packet.toString('hex')}\n`);
  const { status, stderr, error } = spawnSync('perl', ['-e', CARRIER], {
    input: input.join(''),
    encoding: 'utf8',
  });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`perl: ${stderr.trim()}`);
}

function fragments({ id, source, target, sourcePort, port, message }: TinyDatagram): Buffer[] {
  const head = Buffer.alloc(UDP_HEADER); // without a checksum, as IPv4 allows
  head.writeUInt16BE(sourcePort, 0);
  head.writeUInt16BE(port, 2);
  head.writeUInt16BE(UDP_HEADER + message.length, 4);
  const data = Buffer.concat([head, message]);
  const count = Math.ceil(data.length / TINY);
  return Array.from({ length: count }, (_, i) => {
    const part = data.subarray(i * TINY, (i + 1) * TINY);
    const packet = Buffer.concat([Buffer.alloc(IP_HEADER), part]);
    packet.writeUInt8(0x45, 0);
    packet.writeUInt16BE(packet.length, 2);
    packet.writeUInt16BE((id % 0xffff) + 1, 4);
    packet.writeUInt16BE(i | (i < count - 1 ? MORE_FRAGMENTS : 0), 6);
    packet.writeUInt8(HOPS, 8);
    packet.writeUInt8(UDP, 9);
    address(source).copy(packet, 12);
    address(target).copy(packet, 16);
    return packet; // the kernel writes the checksum of the header
  });
}

function address(text: string): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(ipv4Value(text) ?? 0);
  return bytes;
}
