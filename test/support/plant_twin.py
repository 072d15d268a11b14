"""A twin of a plant in network namespaces: one host for each interface of a gateway that holds real rules.

One JSON command a line on standard input, one JSON answer a line on standard output. Started in a network and mount
namespace of its own, so that whatever it makes is gone when it ends, however it ends. Sockets are made in the namespace
of their host and stay there; nothing but this process runs.

  {"do": "build", "hosts": [{"name", "interface", "addresses": ["10.0.0.5/24"], "gateway": ["10.0.0.1/24"]}]}
  {"do": "load", "rules": PATH}                     nft -j -f PATH in the gateway
  {"do": "probe", "probes": [PROBE, ...]}           which of them arrive and are answered
  {"do": "open", "probe": PROBE} / {"do": "talk"}   one connection that stays, and a word each way on it
  {"do": "counters"}                                named counters that are not zero
  {"do": "logged"}                                  prefixes of what the rules logged since the last time

A probe: {"from": HOST, "source": ADDRESS, "to": HOST, "target": ADDRESS, "protocol": "tcp"|"udp"|"icmp", "port": N,
"expected": BOOL}.
"""
import ctypes
import errno
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time

from nflog import NfLog

CLONE_NEWNET = 0x40000000
GATEWAY = "gateway"
GROUP = 20  # LOG_GROUP of denials.ts
LIMIT = 20.0
libc = ctypes.CDLL(None, use_errno=True)
kept = None
log = None


def run(*command, text=None):
    subprocess.run(command, input=text, text=True, check=True, capture_output=True)


class inside:
    """Whatever is opened meanwhile belongs to this namespace."""

    def __init__(self, name):
        self.name = name

    def __enter__(self):
        self.before = os.open("/proc/self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        self.enter(there)
        os.close(there)

    def __exit__(self, *_):
        self.enter(self.before)
        os.close(self.before)

    @staticmethod
    def enter(descriptor):
        if libc.setns(descriptor, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


def set_knobs(name, knobs):
    with inside(name):
        for knob, value in knobs.items():
            with open(f"/proc/sys/net/{knob}", "w") as file:
                file.write(str(value))


def build(hosts):
    global log
    run("mount", "-t", "tmpfs", "tmpfs", "/run")
    os.mkdir("/run/netns")
    for name in [GATEWAY, *[host["name"] for host in hosts]]:
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")
        # Without a link-local address, for which a search for duplicates takes seconds, nobody asks for a neighbour.
        set_knobs(name, {"ipv6/conf/all/accept_dad": 0, "ipv6/conf/default/accept_dad": 0})
    set_knobs(GATEWAY, {"ipv4/ip_forward": 1, "ipv6/conf/all/forwarding": 1})
    with inside(GATEWAY):
        log = NfLog(GROUP)
    shared = [host["interface"] for host in hosts]
    for host in hosts:
        connect(host, shared.count(host["interface"]) > 1)


def connect(host, shared):
    """A cable to the gateway, or to a switch that is the interface of the gateway where several hosts share it."""
    name, interface = host["name"], host["interface"]
    port = f"p-{name}" if shared else interface
    run("ip", "-n", GATEWAY, "link", "add", port, "type", "veth", "peer", "name", "eth", "netns", name)
    there = [f"addr add {address} dev eth nodad" for address in host["addresses"]]
    # Addresses of others, to lie with: they are bound on the loopback device.
    there += [f"addr add {address} dev lo nodad" for address in host.get("foreign", [])]
    # Onlink: a host that knows no neighbours sends everything to the gateway.
    routes = [f"route add default via {address.split('/')[0]} dev eth onlink" for address in host["gateway"]]
    run("ip", "-n", name, "-batch", "-", text="\n".join([*there, "link set eth up", *routes, ""]))
    here = [f"addr add {address} dev {interface} nodad" for address in host["gateway"]]
    if shared and subprocess.run(["ip", "-n", GATEWAY, "link", "show", interface], capture_output=True).returncode == 0:
        here = []
    elif shared:
        run("ip", "-n", GATEWAY, "link", "add", interface, "type", "bridge")
    if shared:
        run("ip", "-n", GATEWAY, "link", "set", port, "master", interface, "up")
    run("ip", "-n", GATEWAY, "-batch", "-", text="\n".join([*here, f"link set {interface} up", ""]))


def nft(*arguments):
    with inside(GATEWAY):
        done = subprocess.run(["nft", *arguments], text=True, capture_output=True)
    if done.returncode != 0 or done.stderr:
        raise RuntimeError(done.stderr)
    return done.stdout


def counters():
    listed = json.loads(nft("-j", "list", "counters"))["nftables"]
    return {item["counter"]["name"]: item["counter"]["packets"] for item in listed if "counter" in item}


def denied(noise):
    """Hosts look for routers and report groups by themselves, also where there is no IPv6: that is no probe."""
    counted = counters()
    return sum(counted[name] for name in counted if name.startswith("n_denied_") and (noise or name != "n_denied_ipv6"))


def open_socket(host, address, kind, protocol=0):
    with inside(host):
        opened = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind, protocol)
    opened.setblocking(False)
    return opened


class Servers:
    """Whoever is asked; several probes may ask the same one."""

    def __init__(self):
        self.by_place = {}
        self.peers = []

    def serve(self, wanted):
        host, target, protocol, port = (wanted[key] for key in ("to", "target", "protocol", "port"))
        if (place := (host, target, protocol, port)) in self.by_place:
            return
        server = open_socket(host, target, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((target, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            server.close()  # the connection that stays has it, and takes this one too
            return
        if protocol == "tcp":
            server.listen(64)
        self.by_place[place] = server

    def step(self):
        """Takes and answers what has come by now."""
        for server in self.by_place.values():
            try:
                while True:
                    if server.type == socket.SOCK_STREAM:
                        self.peers.append(server.accept()[0])
                    else:
                        server.sendto(b"answer", server.recvfrom(65535)[1])
            except BlockingIOError:
                pass

    def close(self):
        for one in [*self.by_place.values(), *self.peers]:
            one.close()


class Probe:
    """One attempt. It has arrived when the answer is back at the one who asked."""

    def __init__(self, wanted, servers):
        self.wanted = wanted
        self.target = wanted["target"]
        self.six = ":" in self.target
        self.arrived = False
        if wanted["protocol"] == "icmp":
            self.client = self.ask(socket.SOCK_RAW, socket.IPPROTO_ICMPV6 if self.six else socket.IPPROTO_ICMP)
            self.client.connect((self.target, 0))
            self.send(self.echo_request())
            return
        servers.serve(wanted)
        self.client = self.ask(socket.SOCK_STREAM if wanted["protocol"] == "tcp" else socket.SOCK_DGRAM)
        self.client.connect_ex((self.target, wanted["port"]))
        if wanted["protocol"] == "udp":
            self.send(b"ask".ljust(wanted.get("size", 3)))

    def ask(self, kind, protocol=0):
        client = open_socket(self.wanted["from"], self.target, kind, protocol)
        client.bind((self.wanted["source"], 0))
        return client

    def send(self, payload):
        try:
            self.client.send(payload)
        except PermissionError:
            pass  # the rules of the sender itself said no

    def echo_request(self):
        head = struct.pack("!BBHHH", 128 if self.six else 8, 0, 0, os.getpid() & 0xFFFF, 1)
        total = sum(struct.unpack("!4H", head))
        checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
        # The kernel fills in the checksum of ICMPv6 (RFC 3542, 3.1).
        return head[:2] + struct.pack("!H", 0 if self.six else checksum) + head[4:]

    def step(self):
        try:
            if self.wanted["protocol"] == "tcp":
                self.arrived = self.client.getpeername() is not None
            elif self.wanted["protocol"] == "udp":
                self.arrived = self.client.recv(100) == b"answer"
            else:
                packet, sender = self.client.recvfrom(2000)
                kind = packet[0] if self.six else packet[20]
                self.arrived = kind == (129 if self.six else 0) and sender[0] == self.target
        except OSError:
            pass


def probe(wanted, noise):
    """Probes run together, until what is expected has arrived and the gateway has counted a denial for all others."""
    before = denied(noise)
    servers = Servers()
    probes = [Probe(one, servers) for one in wanted]
    end = time.monotonic() + LIMIT
    calm = 0
    # Twice without progress: an answer that is on its way has had its chance.
    while calm < 2 and time.monotonic() < end and not all(one.arrived for one in probes):
        select.select([one.client for one in probes if not one.arrived], [], [], 0.02)
        servers.step()
        progress = False
        for one in probes:
            if not one.arrived:
                one.step()
                progress |= one.arrived
        missing = [one.wanted["expected"] for one in probes if not one.arrived]
        settled = not progress and not any(missing) and denied(noise) - before >= len(missing)
        calm = calm + 1 if settled else 0
    for one in probes:
        one.client.close()
    servers.close()
    return [one.arrived for one in probes]


def keep(wanted):
    global kept
    servers = Servers()
    probe = Probe(wanted, servers)
    kept = (probe.client, servers)
    end = time.monotonic() + LIMIT
    while not (probe.arrived and servers.peers) and time.monotonic() < end:
        servers.step()
        probe.step()
        select.select([], [], [], 0.01)
    return probe.arrived


def talk():
    client, peer = kept[0], kept[1].peers[0]
    for one in (client, peer):
        one.settimeout(LIMIT)
    word = os.urandom(8)
    client.sendall(word)
    peer.sendall(peer.recv(8, socket.MSG_WAITALL))
    return client.recv(8, socket.MSG_WAITALL) == word


def obey(command):
    match command["do"]:
        case "build":
            return build(command["hosts"])
        case "load":
            return nft("-j", "-f", command["rules"])
        case "probe":
            return probe(command["probes"], command.get("noise", False))
        case "open":
            return keep(command["probe"])
        case "talk":
            return talk()
        case "nft":
            return nft(*command["arguments"])
        case "logged":
            return list(log.prefixes())
        case "counters":
            return {name: packets for name, packets in counters().items() if packets > 0}


for line in sys.stdin:
    try:
        answer = {"ok": obey(json.loads(line))}
    except subprocess.CalledProcessError as error:
        answer = {"error": f"{' '.join(error.cmd)}: {error.stderr}"}
    except Exception as error:  # the test shows it
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
