"""Sends the same packets against one table after another and tells which of them the kernel let through.

In the network namespace of a gateway, with the process id of a peer's namespace and a folder of tables (0.json, 1.json,
...) as arguments. Leaves a listing (0.listing) and what arrived (0.arrived) of each beside it; of a table that nft does
not take, neither.
"""

import json
import os
import select
import socket
import subprocess
import sys

SOURCES = {4: ["10.0.0.3", "10.0.0.4"], 6: ["fd00::3", "fd00::4"]}
TARGETS = {4: ["10.0.0.1", "10.0.0.2"], 6: ["fd00::1", "fd00::2"]}
PORTS = [22, 80, 502]
HOPS = [1, 64, 255]
COUNT = sum(len(SOURCES[f]) * len(TARGETS[f]) for f in (4, 6)) * len(PORTS) * len(HOPS)
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


def send():
    """The peer: every packet once for each line on standard input."""
    for _ in sys.stdin:
        for family in (4, 6):
            for source in SOURCES[family]:
                with socket.socket(FAMILY[family], socket.SOCK_DGRAM) as out:
                    out.bind((source, 0))
                    for hops in HOPS:
                        if family == 4:
                            out.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
                        else:
                            out.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
                        for target in TARGETS[family]:
                            for port in PORTS:
                                text = f"{family} {source} {target} {port} {hops}"
                                out.sendto(text.encode(), (target, port))
        print("sent", flush=True)


def nft(*arguments, check=True):
    return subprocess.run(["nft", *arguments], check=check, capture_output=True, text=True)


def arrived_at_all():
    """How many packets the kernel has seen, by a table of our own in front of the one under test."""
    objects = json.loads(nft("-j", "list", "counter", "inet", "watch", "seen").stdout)["nftables"]
    return next(o["counter"]["packets"] for o in objects if "counter" in o)


def main(peer, folder):
    os.chdir(folder)
    nft("add table inet watch; add counter inet watch seen;"
        "add chain inet watch early { type filter hook prerouting priority -400; };"
        "add rule inet watch early iifname vlan10 meta l4proto udp counter name seen")
    listening = []
    for family in (4, 6):
        for port in PORTS:
            one = socket.socket(FAMILY[family], socket.SOCK_DGRAM)
            if family == 6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind(("" if family == 4 else "::", port))
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
            sender.stdin.write("go\n")
            sender.stdin.flush()
            sender.stdout.readline()
            expected += COUNT
            while arrived_at_all() < expected:
                pass
            arrived_at_all()  # the last one has gone through the other chains when another process has been started
            texts = []
            while True:
                ready, _, _ = select.select(listening, [], [], 0)
                if not ready:
                    break
                texts += [one.recv(100).decode() for one in ready]
            with open(f"{number}.arrived", "w") as out:
                out.write("\n".join(texts))
        number += 1
    sender.stdin.close()
    sender.wait()


if __name__ == "__main__":
    send() if sys.argv[1] == "send" else main(sys.argv[1], sys.argv[2])
