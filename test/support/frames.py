# Sends frames into one end of a bridge and tells which came out at another: python3 frames.py OUT. Each line of standard
# input is "in frame mark" in hex: the frame is sent at the interface `in`, and then the mark, which always passes; what
# came out before the mark belongs to the frame. Prints how many that were, one number a line. Standard library alone.
import socket
import sys

ALL = 3  # ETH_P_ALL
PATIENCE = 20  # seconds; a loaded machine forwards late, and a frame that never comes must end the test

out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL))
out.bind((sys.argv[1], 0))
out.settimeout(PATIENCE)
links = {}


def link(name):
    if name not in links:
        links[name] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        links[name].bind((name, 0))
    return links[name]


for line in sys.stdin:
    name, frame, mark = line.split()
    link(name).send(bytes.fromhex(frame))
    link(name).send(bytes.fromhex(mark))
    passed = 0
    while True:
        data, (_, _, kind, _, _) = out.recvfrom(65536)
        if kind == socket.PACKET_OUTGOING:
            continue
        if data[: len(mark) // 2] == bytes.fromhex(mark):
            break
        passed += 1
    print(passed)
