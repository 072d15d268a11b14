"""Sends the same packets against one table after another and tells which of them the kernel let through.

In the network namespace of a gateway, with the process id of a peer's namespace and a folder of tables (0.json, 1.json,
...) as arguments. Leaves a listing (0.listing) and what arrived (0.arrived) of each beside it; of a table that nft does
not take, neither.
"""

import json
import os
import select
import socket
import struct
import subprocess
import sys

SOURCES = {4: ["10.0.0.3", "10.0.0.4"], 6: ["fd00::3", "fd00::4"]}
TARGETS = {4: ["10.0.0.1", "10.0.0.2"], 6: ["fd00::1", "fd00::2"]}
PORTS = [22, 80, 502]
HOPS = [1, 64, 255]
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
ECHO = {4: (ICMP, 8, 0), 6: (ICMPV6, 128, 129)}
SYN, RST = 0x02, 0x04
# What is in each packet: the line that says what it is.
MARK = b"~packet~"


def packets():
    """Every packet as its line says it: family, source, target, protocol, port or type, hops, and what TCP says."""
    for family in (4, 6):
        protocol, request, reply = ECHO[family]
        # The ICMP of the other family is a protocol like any other.
        foreign, its_request, _ = ECHO[10 - family]
        for source in SOURCES[family]:
            for target in TARGETS[family]:
                for port in PORTS:
                    for hops in HOPS:
                        yield family, source, target, UDP, port, hops, 0
                    yield family, source, target, TCP, port, 64, SYN
                yield family, source, target, TCP, 22, 64, RST
                yield family, source, target, protocol, request, 64, 0
                yield family, source, target, protocol, reply, 64, 0
                yield family, source, target, foreign, its_request, 64, 0


PACKETS = list(packets())


def checksum(data):
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def transport(packet, number, text):
    """Header and data. Each table gets connections of its own, so that none has been answered before."""
    family, source, target, protocol, port, _, flags = packet
    address = {4: socket.AF_INET, 6: socket.AF_INET6}[family]
    ends = socket.inet_pton(address, source) + socket.inet_pton(address, target)
    own = 20000 + number * 2 + (flags == RST)
    if protocol == UDP:
        head, place = struct.pack("!HHHH", own, port, 8 + len(text), 0), 6
    elif protocol == TCP:
        head, place = struct.pack("!HHIIBBHHH", own, port, 1, 0, 0x50, flags, 1024, 0, 0), 16
    else:
        head, place = struct.pack("!BBHHH", port, 0, 0, own, 0), 2
    pseudo = b"" if protocol == ICMP else ends + struct.pack("!II", len(head) + len(text), protocol)
    if family == 6 and protocol == ICMPV6:
        return head + text  # the kernel sums it up
    return head[:place] + struct.pack("!H", checksum(pseudo + head + text)) + head[place + 2:] + text


def send():
    """The peer: every packet once for each line on standard input, which is the number of the table."""
    sockets = {}
    for line in sys.stdin:
        for packet in PACKETS:
            family, source, target, protocol, _, hops, _ = packet
            out = sockets.get((family, source, protocol))
            if out is None:
                out = sockets[family, source, protocol] = socket.socket(FAMILY[family], socket.SOCK_RAW, protocol)
                out.bind((source, 0))
            if family == 4:
                out.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
            else:
                out.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
            text = MARK + " ".join(map(str, packet)).encode() + MARK
            out.sendto(transport(packet, int(line), text), (target, 0))
        print("sent", flush=True)


def nft(*arguments, check=True):
    return subprocess.run(["nft", *arguments], check=check, capture_output=True, text=True)


def arrived_at_all():
    """How many packets the kernel has seen, by a table of our own in front of the one under test."""
    objects = json.loads(nft("-j", "list", "counter", "inet", "watch", "seen").stdout)["nftables"]
    return next(o["counter"]["packets"] for o in objects if "counter" in o)


def main(peer, folder):
    os.chdir(folder)
    with open("sent", "w") as out:
        out.write("\n".join(" ".join(map(str, packet)) for packet in PACKETS))
    nft("add table inet watch; add counter inet watch seen;"
        "add chain inet watch early { type filter hook prerouting priority -400; };"
        "add rule inet watch early icmpv6 type { 130-137, 143 } return;"
        "add rule inet watch early iifname vlan10 counter name seen")
    listening = []
    for family in (4, 6):
        for protocol in (ICMP, TCP, UDP, ICMPV6):
            one = socket.socket(FAMILY[family], socket.SOCK_RAW, protocol)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            one.setblocking(False)
            listening.append(one)
    command = ["nsenter", "-t", peer, "-n", sys.executable, __file__, "send"]
    sender = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    expected = 0
    number = 0
    while os.path.exists(f"{number}.json"):
        nft("add table inet sluice; delete table inet sluice")
        if nft("-j", "-f", f"{number}.json", check=False).returncode == 0:
            with open(f"{number}.listing", "w") as out:
                out.write(nft("-j", "list", "table", "inet", "sluice").stdout)
            sender.stdin.write(f"{number}\n")
            sender.stdin.flush()
            sender.stdout.readline()
            expected += len(PACKETS)
            while arrived_at_all() < expected:
                pass
            arrived_at_all()  # the last one has gone through the other chains when another process has been started
            texts = []
            while True:
                ready, _, _ = select.select(listening, [], [], 0)
                if not ready:
                    break
                texts += [data.split(MARK)[1].decode() for data in (one.recv(2000) for one in ready) if MARK in data]
            with open(f"{number}.arrived", "w") as out:
                out.write("\n".join(texts))
        number += 1
    sender.stdin.close()
    sender.wait()


if __name__ == "__main__":
    send() if sys.argv[1] == "send" else main(sys.argv[1], sys.argv[2])
