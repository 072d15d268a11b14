"""Numbers to and fro: talk.py serve PORT... | talk.py ask tcp|udp ADDRESS PORT FILE

serve: answers what comes on each port, TCP and UDP, IPv4 and IPv6, with the same bytes.
ask: sends 1, 2, 3, ... and counts the answers that came, each in its order, into FILE; ends with an error where one is
     wrong. It never opens a second connection.
"""

import os
import selectors
import socket
import sys
import time

PAUSE = 0.02


def serve(ports: list[int]) -> None:
    selector = selectors.DefaultSelector()
    for port in ports:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            one = socket.socket(socket.AF_INET6, kind)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            one.bind(("::", port))
            if kind == socket.SOCK_STREAM:
                one.listen(100)
            selector.register(one, selectors.EVENT_READ, "listen" if kind == socket.SOCK_STREAM else "udp")
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            if key.data == "listen":
                selector.register(key.fileobj.accept()[0], selectors.EVENT_READ, "tcp")
            elif key.data == "udp":
                data, peer = key.fileobj.recvfrom(64)
                key.fileobj.sendto(data, peer)
            else:
                data = key.fileobj.recv(4096)
                if data:
                    key.fileobj.sendall(data)
                else:
                    selector.unregister(key.fileobj)


def ask(protocol: str, address: str, port: int, file: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    one = socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
    one.connect((address, port))
    one.settimeout(None if protocol == "tcp" else 0.1)
    number = 0
    while True:
        number += 1
        data = number.to_bytes(8, "big")
        one.sendall(data)
        try:
            answer = one.recv(8)
            while protocol == "tcp" and 0 < len(answer) < 8:
                answer += one.recv(8 - len(answer))
            while protocol == "udp" and answer != data:
                answer = one.recv(8)  # to a number that was sent again: it was late
            if answer != data:
                sys.exit(f"{number} was answered with {answer!r}")
            with open(f"{file}.new", "w") as out:
                out.write(str(number))
            os.rename(f"{file}.new", file)
        except TimeoutError:
            number -= 1
        time.sleep(PAUSE)


if sys.argv[1] == "serve":
    serve([int(port) for port in sys.argv[2:]])
else:
    ask(sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])
