# Sends frames into one end of a bridge and tells which came out at another: python3 frames.py OUT GROUP. Each line of standard
# input is "in frame mark" in hex: the frame is sent at the interface `in`, and then the mark, which always passes, there
# too or where a fourth word says; what came out before the mark belongs to the frame. Prints how many that were, and the prefixes of what was logged meanwhile
# to the NFLOG group GROUP, one JSON a line. Standard library alone.
import json
import socket
import struct
import sys

ALL = 3  # ETH_P_ALL
PATIENCE = 20  # seconds; a loaded machine forwards late, and a frame that never comes must end the test

out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL))
out.bind((sys.argv[1], 0))
out.settimeout(PATIENCE)
links = {}

# Netlink of netfilter (12), as linux/netfilter/nfnetlink_log.h has it.
LOG = 4 << 8  # NFNL_SUBSYS_ULOG
CONFIG, PREFIX = 1, 10  # NFULNL_MSG_CONFIG, NFULA_PREFIX
log = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
log.bind((0, 0))


def configured(*attribute):
    body = struct.pack(">BBH", 0, 0, int(sys.argv[2])) + b"".join(attribute)
    log.send(struct.pack("=IHHII", 16 + len(body), LOG | CONFIG, 5, 0, 0) + body)  # a request that is answered
    if struct.unpack_from("=i", log.recv(4096), 16)[0] != 0:
        sys.exit("this kernel has no NFLOG")


configured(struct.pack("=HHB3x", 5, 1, 1))  # NFULA_CFG_CMD: bind
configured(struct.pack("=HH", 8, 5) + struct.pack(">I", 1))  # NFULA_CFG_QTHRESH: each by itself
log.setblocking(False)


def logged():
    while True:
        try:
            data = log.recv(65536)
        except BlockingIOError:
            return
        at = 20  # behind the heads of netlink and of netfilter
        while at + 4 <= len(data):
            length, kind = struct.unpack_from("=HH", data, at)
            if kind == PREFIX:
                yield data[at + 4 : at + length].rstrip(b"\0").decode()
            at += (length + 3) & ~3


def link(name):
    if name not in links:
        links[name] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        links[name].bind((name, 0))
    return links[name]


for line in sys.stdin:
    name, frame, mark, *other = line.split()
    link(name).send(bytes.fromhex(frame))
    link(*(other or [name])).send(bytes.fromhex(mark))
    passed = 0
    while True:
        data, (_, _, kind, _, _) = out.recvfrom(65536)
        if kind == socket.PACKET_OUTGOING:
            continue
        if data[: len(mark) // 2] == bytes.fromhex(mark):
            break
        passed += 1
    print(json.dumps([passed, list(logged())]))
