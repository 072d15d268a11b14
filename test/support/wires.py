"""Sends packets into the interfaces of a gateway and tells what came out of which: python3 wires.py COUNT STEPS RESULT MARK LAST [TRACE].

In the network namespace of the gateway, whose interfaces have peers called w0, w1, ... COUNT of them (no addresses: nobody answers).
STEPS is a JSON list of steps, each a list of [wire, packet in hex]; the packets of a step are sent, then a mark, which
always passes from w0: what came out before it belongs to the step. RESULT is a list of the same length,
of what came out as [wire, packet in hex]. With TRACE, `nft -a monitor trace` writes there meanwhile.
Standard library alone.
"""

import json
import os
import selectors
import socket
import subprocess
import sys

ALL = 3  # ETH_P_ALL
IPV4 = 0x0800
IPV6 = 0x86DD
SO_RCVBUFFORCE = 33  # socket(7); the module does not name it
PATIENCE = 60  # seconds; a loaded machine forwards late, and a mark that never comes must end the test
BUFFER = 4 << 20
IP = 20  # bytes of a header without options
HEADS = 14 + IP

# What is sent is handled by the CPU that sent it, in order: so nothing overtakes.
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


GATEWAY = bytes([2, 0, 0, 0, 0, 1])  # the hardware address of all of its interfaces


class Wire:
    def __init__(self, number):
        self.name = f"w{number}"
        self.link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL))
        self.link.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        self.link.bind((self.name, 0))
        self.head = GATEWAY + bytes([2, 0, 0, 0, 1, number])

    def send(self, packet):
        kind = IPV6 if packet[0] >> 4 == 6 else IPV4
        self.link.send(self.head + kind.to_bytes(2, "big") + packet)


def main(count, steps, result, mark, last, trace=None):
    with open(steps) as file:
        steps = json.load(file)
    wires = [Wire(number) for number in range(int(count))]
    waiting = selectors.DefaultSelector()
    for wire in wires:
        waiting.register(wire.link, selectors.EVENT_READ, wire)

    def arrived():
        """What came out of each wire up to now."""
        for wire in wires:
            try:
                while True:
                    data, (_, _, way, _, _) = wire.link.recvfrom(65536, socket.MSG_DONTWAIT)
                    if way != socket.PACKET_OUTGOING and len(data) > HEADS:
                        yield wire.name, data[14:]
            except BlockingIOError:
                pass

    def step(packets, mark=bytes.fromhex(mark)):
        for number, packet in packets:
            wires[number].send(bytes.fromhex(packet))
        wires[0].send(mark)
        seen = []
        while True:
            if not waiting.select(PATIENCE):
                sys.exit("the mark did not come through")
            new = list(arrived())
            seen += [[name, data.hex()] for name, data in new if data[IP:] != mark[IP:]]
            if any(data[IP:] == mark[IP:] for _, data in new):
                # Sent before the mark is there before it, only perhaps on a wire that was asked already.
                return seen + [[name, data.hex()] for name, data in arrived() if data[IP:] != mark[IP:]]

    tracing = None
    if trace is not None:
        with open(trace, "w") as out:
            tracing = subprocess.Popen(["nft", "-a", "monitor", "trace"], stdout=out, stderr=out)
        while os.path.getsize(trace) == 0:  # until it listens
            step([])
    with open(result, "w") as file:
        json.dump([step(one) for one in steps], file)
    if tracing is not None:
        port = int.from_bytes(bytes.fromhex(last)[IP : IP + 2], "big")
        while True:  # once the last mark is written, so is everything before it
            step([], bytes.fromhex(last))
            with open(trace) as file:
                if f"udp sport {port} " in file.read():
                    break
        tracing.terminate()
        tracing.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
