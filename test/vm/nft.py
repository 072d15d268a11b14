"""Loads documents into the kernel, one a line of standard input, and prints what the kernel lists after each, one a line.

What nft does, by the library of nft: a start of the program for each would take most of the time under emulation.
"""

import ctypes
import sys

JSON = 1 << 4  # NFT_CTX_OUTPUT_JSON

nft = ctypes.CDLL("libnftables.so.1")
nft.nft_ctx_new.restype = ctypes.c_void_p
for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
    getattr(nft, name).restype = ctypes.c_char_p
context = ctypes.c_void_p(nft.nft_ctx_new(0))
nft.nft_ctx_output_set_flags(context, JSON)
nft.nft_ctx_buffer_output(context)
nft.nft_ctx_buffer_error(context)


def run(command: str) -> str:
    if nft.nft_run_cmd_from_buffer(context, command.encode()) != 0:
        sys.exit(nft.nft_ctx_get_error_buffer(context).decode())
    return nft.nft_ctx_get_output_buffer(context).decode().strip()


for document in sys.stdin:
    run("flush ruleset")
    run(document.strip())
    print(run("list ruleset"), flush=True)
run("flush ruleset")  # what comes after this in the guest begins without rules
