"""Sends frames from far_lan1, in hexadecimal, to far_lan2 of the namespace victim: spoof.py FRAME... LAST

Prints "arrived" where what the first of them carries came in at the victim before the last one did, which always passes.
"""

import ctypes
import os
import socket
import sys

PATIENCE = 60
ARP_BYTES = 28  # at the end of each frame, whatever it is wrapped in
ETH_P_ALL = socket.htons(3)

frames = [bytes.fromhex(text) for text in sys.argv[1:]]
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
out.bind(("far_lan1", 0))
libc = ctypes.CDLL(None, use_errno=True)
if libc.setns(os.open("/run/netns/victim", os.O_RDONLY), 0) != 0:
    sys.exit(os.strerror(ctypes.get_errno()))
victim = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, ETH_P_ALL)
victim.bind(("far_lan2", 0))
victim.settimeout(PATIENCE)
for frame in frames:
    out.send(frame)
arrived = False
while True:
    seen = victim.recv(2048)
    arrived = arrived or frames[0][-ARP_BYTES:] in seen
    if frames[-1][-ARP_BYTES:] in seen:
        break
print("arrived" if arrived else "stopped")
