# Sends frames into one end of a bridge and tells which came out at another: python3 frames.py OUT GROUP. Each line of standard
# input is "in frame mark" in hex: the frame is sent at the interface `in`, and then the mark, which always passes, there
# too or where a fourth word says; what came out before the mark belongs to the frame. Prints how many that were, and the prefixes of what was logged meanwhile
# to the NFLOG group GROUP, one JSON a line. Standard library alone.
import json
import socket
import sys

from nflog import NfLog

ALL = 3  # ETH_P_ALL
PATIENCE = 20  # seconds; a loaded machine forwards late, and a frame that never comes must end the test

out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL))
out.bind((sys.argv[1], 0))
out.settimeout(PATIENCE)
links = {}

log = NfLog(int(sys.argv[2]))


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
    print(json.dumps([passed, list(log.prefixes())]))
