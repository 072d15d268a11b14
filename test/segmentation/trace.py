"""Sends frames against one table after another and keeps what the kernel says of each packet (nft monitor trace).

In the network namespace of a gateway, with the process id of a peer's namespace and a folder as arguments. Of each table
(0.json, 1.json, ...) it sends the frames beside it (0.frames: the interface of the peer and hex digits in each line), and
leaves a listing (0.listing) and the trace (0.trace); of a table that nft does not take, neither. The last frame of a
file is sent until the trace tells of it: what came before it has been told then.
"""

import os
import socket
import subprocess
import sys
import time

LIMIT = 30.0


def send():
    """The peer: frames from standard input, an answer for each empty line."""
    sockets = {}
    for line in sys.stdin:
        name, _, digits = line.strip().partition(" ")
        if not name:
            print("sent", flush=True)
            continue
        if name not in sockets:
            sockets[name] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            sockets[name].bind((name, 0))
        sockets[name].send(bytes.fromhex(digits))


def nft(*arguments, check=True):
    return subprocess.run(["nft", *arguments], check=check, capture_output=True, text=True)


def main(peer, folder):
    os.chdir(folder)
    # One processor: packets are judged in the order in which they are sent.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    nft("add table inet watch; add chain inet watch early { type filter hook prerouting priority -500; };"
        "add rule inet watch early ether saddr & ff:ff:00:00:00:00 == 02:01:00:00:00:00 meta nftrace set 1")
    command = ["nsenter", "-t", peer, "-n", sys.executable, __file__, "send"]
    sender = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def pass_on(lines):
        sender.stdin.write("\n".join(lines) + "\n\n")
        sender.stdin.flush()
        sender.stdout.readline()

    number = 0
    while os.path.exists(f"{number}.json"):
        nft("add table inet sluice; delete table inet sluice")
        if nft("-j", "-f", f"{number}.json", check=False).returncode == 0:
            with open(f"{number}.listing", "w") as out:
                out.write(nft("-j", "list", "table", "inet", "sluice").stdout)
            with open(f"{number}.frames") as frames:
                *lines, first, last = frames.read().splitlines()
            trace = open(f"{number}.trace", "w")
            # It knows rules from before it began, and names them by their handles.
            monitor = subprocess.Popen(["nft", "-a", "monitor", "trace"], stdout=trace)

            def told(line):
                mac = line.split()[1][12:24]
                text = "ether saddr " + ":".join(mac[i:i + 2] for i in range(0, 12, 2))
                over = time.monotonic() + LIMIT
                while True:
                    pass_on([line])
                    with open(f"{number}.trace") as heard:
                        if text in heard.read():
                            return
                    if time.monotonic() > over:
                        raise SystemExit(f"nft monitor did not tell of {line}")
                    time.sleep(0.01)

            told(first)
            pass_on(lines)
            told(last)
            monitor.kill()
            monitor.wait()
            trace.close()
        number += 1
    sender.stdin.close()
    sender.wait()


if __name__ == "__main__":
    send() if sys.argv[1] == "send" else main(sys.argv[1], sys.argv[2])
