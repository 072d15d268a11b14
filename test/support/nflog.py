"""What the rules log: the prefixes of a group of NFLOG. Netlink of netfilter, as linux/netfilter/nfnetlink_log.h has it."""
import socket
import struct

NETFILTER = 12
LOG = 4 << 8  # NFNL_SUBSYS_ULOG
CONFIG, PREFIX = 1, 10  # NFULNL_MSG_CONFIG, NFULA_PREFIX


class NfLog:
    """Of the network namespace that it is made in, from then on."""

    def __init__(self, group):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER)
        self.socket.bind((0, 0))
        self.configure(group, struct.pack("=HHB3x", 5, 1, 1))  # NFULA_CFG_CMD: bind
        self.configure(group, struct.pack("=HH", 8, 5) + struct.pack(">I", 1))  # NFULA_CFG_QTHRESH: each by itself
        self.socket.setblocking(False)

    def configure(self, group, attribute):
        body = struct.pack(">BBH", 0, 0, group) + attribute
        head = struct.pack("=IHHII", 16 + len(body), LOG | CONFIG, 5, 0, 0)  # a request that is answered
        self.socket.send(head + body)
        if struct.unpack_from("=i", self.socket.recv(4096), 16)[0] != 0:
            raise SystemExit("this kernel has no NFLOG")

    def prefixes(self):
        """Of what was logged since the last time, in order."""
        while True:
            try:
                data = self.socket.recv(65536)
            except BlockingIOError:
                return
            at = 20  # behind the heads of netlink and of netfilter
            while at + 4 <= len(data):
                length, kind = struct.unpack_from("=HH", data, at)
                if kind == PREFIX:
                    yield data[at + 4 : at + length].rstrip(b"\0").decode()
                at += (length + 3) & ~3
