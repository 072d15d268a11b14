"""Sends or counts UDP packets: packets.py send|count SECONDS_OR_FILE PORT...

send: from this host to each port of 10.20.10.9, evenly paced, until FILE exists; prints how many to each port.
count: what arrives on each port, until FILE exists and nothing came for half a second.
"""

import os
import selectors
import socket
import sys
import time

ROLE, STOP, PORTS = sys.argv[1], sys.argv[2], [int(port) for port in sys.argv[3:]]
RATE = int(os.environ.get("RATE", "1000"))  # packets a second to each port
counts = {port: 0 for port in PORTS}


def send() -> None:
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    begin, rounds = time.monotonic(), 0
    while rounds % 100 or not os.path.exists(STOP):
        for port in PORTS:
            out.sendto(b"x", ("10.20.10.9", port))
            counts[port] += 1
        rounds += 1
        wait = begin + rounds / RATE - time.monotonic()
        if wait > 0:
            time.sleep(wait)


def count() -> None:
    selector = selectors.DefaultSelector()
    for port in PORTS:
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
        one.bind(("0.0.0.0", port))
        one.setblocking(False)
        selector.register(one, selectors.EVENT_READ, port)
    print("ready", flush=True)
    while True:
        ready = selector.select(0.5)
        if not ready and os.path.exists(STOP):
            return
        for key, _ in ready:
            while True:
                try:
                    key.fileobj.recv(16)
                except BlockingIOError:
                    break
                counts[key.data] += 1


send() if ROLE == "send" else count()
print(" ".join(str(counts[port]) for port in PORTS), flush=True)
